"""What our own dialects have in common: their clients are EventSource, or behave like it.

Such a client comes back by itself after any end of the body, after as long as `retry:` said last,
and names the last `id:` it has seen. But it gives up for ever after a status other than 200, so
what will pass is answered with 200, `retry:` and an end.
"""

from typing import TypeVar

from flask import Response
from werkzeug.exceptions import HTTPException

from shared import sse
from shared.errors import OutliveError, Unavailable
from shared.store.messages import Message
from web import requests, schemas
from web.following.face import Face
from web.following.streaming import RETRY_BROKEN, jittered

Place = TypeVar("Place")
SourceT = TypeVar("SourceT")


class EventSourceFace(Face[SourceT, Place]):
    """A face of ours."""

    def refusal(self, error: Exception) -> Response | None:
        """A 200 that says when to come back, unless coming back is no use."""
        if isinstance(error, OutliveError | HTTPException) and not isinstance(error, Unavailable):
            return None
        retry = sse.retry(jittered(RETRY_BROKEN))
        return Response(retry, content_type=self.content_type, headers=dict(self.headers))

    def open(self, source: SourceT, place: Place) -> tuple[bytes, Place]:  # noqa: ARG002
        """When to come back if the connection breaks."""
        return sse.retry(jittered(RETRY_BROKEN)), place

    def cut(self, milliseconds: int) -> bytes:
        """When to come back."""
        return sse.retry(milliseconds)


def position() -> int | None:
    """The position in the request's Last-Event-ID or `?after=`; None for `end`. Raises Invalid."""
    found = requests.seen()
    return None if found == requests.END else found


def encode_end(message: Message) -> bytes:
    """The end frame, with the proof."""
    return sse.encode("end", schemas.EndShape.of(message).model_dump(mode="json"), "end")
