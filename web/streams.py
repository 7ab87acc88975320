"""The response to a request that follows something, in the dialect that its face writes."""

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from shared.errors import OutliveError, Unavailable
from shared.lifecycle import TERMINAL
from shared.store import messages
from web import errors
from web.auth import current_user, principal
from web.context import context
from web.following.face import Face
from web.following.message_topic import MessageTopic
from web.following.source import Source
from web.following.streaming import Stream
from web.rate_limits import address
from web.user_agents import device_of

log = structlog.get_logger("http")

Place = TypeVar("Place")
SourceT = TypeVar("SourceT", bound=Source[Any])

#: What a user follows: opened for as long as there is a reader.
Follow = Callable[[uuid.UUID], AbstractContextManager[SourceT]]


def register(app: Flask, faces: Mapping[str, Face[Any, Any]]) -> None:
    """Answer a request for a stream in its dialect, too, when its credential cannot be checked.

    `faces`: by endpoint. Anything else that goes wrong before a route runs is no use to repeat.
    """

    def unavailable(error: Unavailable) -> Response:
        face = faces.get(request.endpoint or "")
        response = (face and face.refusal(error)) or errors.of_ours(error)
        return errors.counted(error, response)

    app.register_error_handler(Unavailable, unavailable)


def message_response(message_id: uuid.UUID, face: Face[MessageTopic, Any]) -> Response:
    """A message as `face` writes it, from the place that the request names to its end."""
    return stream_response(face, partial(watched, message_id), message_id)


def watched(message_id: uuid.UUID, user_id: uuid.UUID) -> AbstractContextManager[MessageTopic]:
    """A message for as long as this request's reader stays, whose device its tape notes."""
    is_person = principal().credential.kind in ("local", "session")
    device = device_of(request.headers) if is_person else None
    return context().messages.watch(message_id, user_id, device)


def stream_response(
    face: Face[SourceT, Any], follow: Follow[SourceT], message_id: uuid.UUID | None = None
) -> Response:
    """What `follow` gives the request's user, as `face` writes it.

    `message_id`: the message whose end a reader may have seen already; there is nothing to follow
    then. What goes wrong before the response begins is answered as the face says.
    """
    try:
        stream = _opened(face, follow, message_id)
    except Exception as error:
        if not isinstance(error, OutliveError | HTTPException):
            log.exception("http.stream", error=type(error).__name__)
        refusal = face.refusal(error)
        if refusal is None:
            raise
        return errors.counted(error, refusal)
    if stream is None:
        return face.nothing()
    return response_of(stream)


def opened_message(
    message_id: uuid.UUID, face: Face[MessageTopic, Place], place: Place | None = None
) -> Stream:
    """A message from a place on, or its beginning: for `response_of`, or to be waited for and
    closed.

    Raises what `Readers.open` raises.
    """
    source = context().messages.follow(message_id, current_user())
    place = face.start if place is None else place
    return context().readers.open(principal(), face, place, source, address())


def response_of(stream: Stream) -> Response:
    """The response that an open stream writes."""
    face = stream.face
    response = Response(content_type=face.content_type, headers=dict(face.headers))
    if request.method == "HEAD":  # as GET, but nothing follows
        stream.close()
        response.response = iter(())
    else:
        response.response = stream  # type: ignore[assignment]  # serving takes it, nothing iterates it
        response.direct_passthrough = True
    return response


def _opened(
    face: Face[SourceT, Any], follow: Follow[SourceT], message_id: uuid.UUID | None
) -> Stream | None:
    place = face.position(request)
    if place is None:
        if message_id is not None and _has_ended(message_id):
            return None
        place = face.start  # no reader can have seen the end of an open message
    return context().readers.open(principal(), face, place, follow(current_user()), address())


def _has_ended(message_id: uuid.UUID) -> bool:
    return messages.status(context().db, message_id, current_user()) in TERMINAL
