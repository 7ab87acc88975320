"""What operators see, as JSON for their page."""

from flask import Blueprint, Response, jsonify

from web.auth import must_operate
from web.context import context

blueprint = Blueprint("operators", __name__, url_prefix="/api")


@blueprint.get("/live")
def live() -> Response:
    """What runs, who reads, the last minutes: numbers, ids and codes."""
    must_operate()
    return jsonify(context().live.show())
