"""/healthz: alive. /readyz: everything behind us answers. /metrics: numbers for Prometheus."""

from flask import Blueprint, Response, jsonify

from shared.errors import RedisDown, StorageDown
from web import metrics
from web.context import context

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """200 while the process answers at all."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def ready() -> tuple[Response, int]:
    """200 when Postgres and Redis are reachable with this code's schema or newer, else 503."""
    parts = {"postgres": _postgres(), "redis": _redis()}
    good = all(word == "ok" for word in parts.values())
    return jsonify(status="ready" if good else "not ready", **parts), 200 if good else 503


@blueprint.get("/metrics")
def prometheus() -> Response:
    """Counters and gauges of this machine's processes, open messages from Postgres."""
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
