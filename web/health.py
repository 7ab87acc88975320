"""Probes: /healthz (the process answers), /readyz (so do Postgres and Redis), and /metrics."""

from flask import Blueprint, Response, jsonify

from shared.errors import RedisDown, StorageDown
from web import metrics
from web.context import context

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """200 as long as the process answers at all."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def ready() -> tuple[Response, int]:
    """200 when Postgres and Redis are reachable with this code's schema or newer, else 503."""
    servers = {"postgres": _postgres(), "redis": _redis()}
    is_ready = all(state == "ok" for state in servers.values())
    status = "ready" if is_ready else "not ready"
    return jsonify(status=status, **servers), 200 if is_ready else 503


@blueprint.get("/metrics")
def prometheus() -> Response:
    """Metrics of the processes on this machine, and the open messages in Postgres."""
    text, content_type = metrics.exposition(context().db)
    return Response(text, content_type=content_type)


def _postgres() -> str:
    try:
        return "ok" if context().db.has_schema() else "schema is older than this code"
    except StorageDown:
        return "unreachable"


def _redis() -> str:
    try:
        context().livelog.ping()
    except RedisDown:
        return "unreachable"
    return "ok"
