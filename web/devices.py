"""The baton: where a user's other devices are reading, and a code that opens a place on a phone.

A page that is visible says every few seconds which message it shows and how far; the response says
the same of the user's other devices. It is kept in Redis, for STALE seconds, and means nothing to
anybody but them: without Redis no device knows of another, and nothing else changes.

The code holds an address and nothing secret. Who opens it has to be signed in.
"""

import io
import json
import time
import uuid
from typing import Annotated, Any, Final

import segno
from flask import Blueprint, Response, request
from pydantic import BaseModel, Field

from shared.errors import Invalid, RedisDown
from shared.store import messages
from web import requests, responses
from web.auth import current_user
from web.context import context
from web.json_types import RequestBody
from web.user_agents import device_of

blueprint = Blueprint("devices", __name__, url_prefix="/api")

#: Seconds after its last report from which on a device is not there any more.
STALE: Final = 25.0
#: Devices of a user that are remembered.
DEVICES_MAX: Final = 16
#: The largest position that a message can have.
_POSITION_MAX: Final = (1 << 31) - 1
#: A browser runs nothing that is in the picture, should somebody open it by itself.
_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"

Position = Annotated[int, Field(ge=0, le=_POSITION_MAX)]


class Report(RequestBody):
    """Where a device is reading; without a message it has left.

    `device`: a random id, which a browser makes for itself and keeps.
    """

    device: Annotated[uuid.UUID, Field(strict=False)]
    message_id: Annotated[uuid.UUID, Field(strict=False)] | None = None
    position: Position = 0


class DeviceShape(BaseModel):
    """Another device of the user: "phone Safari", and where it is reading."""

    device: str
    message_id: uuid.UUID
    position: int


class DeviceList(BaseModel):
    """The user's other devices that are reading now."""

    items: list[DeviceShape]


@blueprint.post("/devices")
def report() -> Response:
    """Where the user's other devices are reading."""
    sent = requests.json_body(Report)
    user, log = current_user(), context().livelog
    entry = json.dumps(
        {
            "at": time.time(),
            "device": device_of(request.headers) or "desktop",
            "message": str(sent.message_id),
            "position": sent.position,
        }
    )
    try:
        if sent.message_id is None:
            log.drop_devices(user, str(sent.device))
            return responses.reply(DeviceList(items=[]))
        found = log.put_device(user, sent.device, entry)
        found.pop(str(sent.device), None)
        known = {one: parsed for one, text in found.items() if (parsed := _parsed(text))}
        newest = sorted(known, key=lambda one: -known[one]["at"])[: DEVICES_MAX - 1]
        gone = found.keys() - set(newest)
        if gone:
            log.drop_devices(user, *gone)
    except RedisDown:
        return responses.reply(DeviceList(items=[]))
    return responses.reply(DeviceList(items=[known[one]["shape"] for one in newest]))


def _parsed(text: str) -> dict[str, Any] | None:
    """What a device reported lately; None if it is older, or of another version."""
    try:
        found = json.loads(text)
        at = float(found["at"])
        shape = DeviceShape(
            device=found["device"], message_id=found["message"], position=found["position"]
        )
    except (ValueError, KeyError, TypeError):
        return None
    return {"at": at, "shape": shape} if abs(time.time() - at) < STALE else None


@blueprint.get("/messages/<uuid:message_id>/code")
def draw_code(message_id: uuid.UUID) -> Response:
    """A QR code of the address at which the page shows a place in a message."""
    position = requests.position(request.args.get("position", "0"))
    if position is None or position == requests.END:
        raise Invalid("position: must be a whole number", "invalid_position")
    found = messages.load_without_body(context().db, message_id, current_user())
    place = f"{request.host_url}c/{found.conversation_id}#{message_id}.{position}"
    drawn = io.BytesIO()
    segno.make(place, error="m", micro=False).save(
        drawn, kind="svg", border=4, omitsize=True, xmldecl=False, dark="#000", light="#fff"
    )
    response = Response(drawn.getvalue(), content_type="image/svg+xml")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "private, no-store"
    return response
