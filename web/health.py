"""Probes: /healthz (the process answers), /readyz (so do Postgres and Redis), and /metrics.

`/healthz/stream` is for `outlive doctor`, which times what arrives through the public address. The
doctor leaves a token in our Redis that is good for one stream; without one the answer is 404.
"""

import re
import time
from collections.abc import Iterator
from typing import Final

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import NotFound

from shared.errors import RedisDown, StorageDown
from web import metrics
from web.context import context
from web.following.face import Face

#: Frames of a probe, and the seconds between two.
PROBE_FRAMES: Final = 4
PROBE_SECONDS: Final = 0.5

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


@blueprint.get("/healthz/stream")
def probe() -> Response:
    """A short stream like every other one, for the token that a doctor has left; else 404.

    Its headers say for whom web takes the client, and for which address: what proxies made of it.
    """
    token = request.headers.get("Outlive-Probe", "")
    if not re.fullmatch("[0-9a-f]{64}", token) or not context().livelog.take_probe(token):
        raise NotFound
    headers = {
        **Face.headers,
        "Outlive-Probe-Client": request.remote_addr or "",
        "Outlive-Probe-Address": request.host_url,
    }
    return Response(_frames(), content_type=Face.content_type, headers=headers)


def _frames() -> Iterator[bytes]:
    for number in range(PROBE_FRAMES):
        if number:
            time.sleep(PROBE_SECONDS)
        yield f": {number}\n\n".encode()


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
