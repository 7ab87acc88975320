"""What the dialects share whose clients know nothing of us but a base URL.

**A repeat joins.** A request with an Idempotency-Key, or one that an SDK says it repeats
(`x-stainless-retry-count` of 1 and more), gets the answer of the first one. `same_request` says
what identifies it.

**When a response begins.** An SDK repeats a request that was refused with 429 or 5xx, and tells its
caller what a provider refused by the status. So the head of a response may wait: `begun` for the
first text or the end, `ended` for the end.
"""

import hashlib
import math
import socket
from dataclasses import dataclass
from typing import Any, Final, cast

from flask import Response, request
from pydantic import BaseModel

from shared.lifecycle import Status
from shared.store.messages import Message
from web import aside, requests
from web.auth import principal
from web.following.face import Face
from web.following.message_topic import MessageTopic
from web.following.streaming import Stream
from web.following.waiting import wait
from web.streams import opened_message

#: Headers of a response that name its answer and the conversation, for whoever follows it later.
#: The second one names a conversation in a request, too.
MESSAGE: Final = "Outlive-Message-Id"
CONVERSATION: Final = "Outlive-Conversation-Id"


@dataclass(frozen=True, slots=True)
class SameRequest:
    """What makes another request the same as this one."""

    #: the Idempotency-Key and the hash of the request that it came with; both or neither
    key: str | None
    request_hash: str | None
    #: identifies the request and its credential where there is no key
    repeat_hash: str | None
    #: its client says that it repeats it
    is_repeat: bool


def same_request(sent: BaseModel, *headers: str) -> SameRequest:
    """Of this request. `headers`: those that count besides its path and body."""
    key = requests.idempotency_key()
    counts = " ".join((request.path, *(str(request.headers.get(name)) for name in headers)))
    same = aside.read(requests.request_hash, counts, sent)
    if key is not None:
        return SameRequest(key, same, None, False)
    who = principal().credential
    of_credential = f"{same}:{who.kind}:{who.id}".encode()
    repeats = _retry_count(request.headers.get("x-stainless-retry-count", ""))
    return SameRequest(None, None, hashlib.sha256(of_credential).hexdigest(), repeats > 0)


def _retry_count(value: str) -> int:
    """How often an SDK has sent the request before; 0 if it does not say."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0


def begun(
    answer: Message, face: Face[MessageTopic, Any], seconds: float
) -> Stream | Message | None:
    """The stream of an answer, once it has text or an end or these seconds are over.

    Or the answer, if it ended in ERROR before it had text; or None, if this process cannot wait any
    longer: a repeat reaches another one.
    """
    stream = opened_message(answer.id, face)
    try:
        topic = cast("MessageTopic", stream.source)
        wait(stream, lambda: topic.body.length > 0 or topic.end is not None, seconds, client())
        end = topic.end
        if end is not None and end.status == Status.ERROR and not topic.body.length:
            stream.close()
            return end
        if stream.is_due_to_be_cut and end is None and not topic.body.length:
            stream.close()
            return None
    except BaseException:
        stream.close()
        raise
    return stream


def ended(
    answer: Message, face: Face[MessageTopic, Any], seconds: float = math.inf
) -> Message | None:
    """The answer once it has ended; None if it has not after so long, or this process cannot wait
    any longer."""
    stream = opened_message(answer.id, face)
    try:
        topic = cast("MessageTopic", stream.source)
        wait(stream, lambda: topic.end is not None, seconds, client())
        return topic.end
    finally:
        stream.close()


def client() -> "socket.socket | None":
    """The socket of this request."""
    return request.environ.get("gunicorn.socket")


def named(response: Response, answer: Message) -> Response:
    """The response, with the headers that name its answer and the conversation."""
    response.headers[MESSAGE] = str(answer.id)
    response.headers[CONVERSATION] = str(answer.conversation_id)
    return response
