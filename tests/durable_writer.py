"""Durable streams that can be written, for the official conformance suite; a test profile.

    gunicorn --config web/gunicorn_conf.py "tests.durable_writer:create_app()"

The service itself has no such routes: its streams are messages, which workers write. Here a stream
is a message as well, and each write is what a worker does: a placeholder is asked for and claimed,
an append is a save (R3), and closing is its end (R4), all by `shared/store`. Reads are those of
`web/faces/durable_streams.py`: its offsets, its three ways to read and its headers, over the hub,
Postgres and Redis.

Three contents: `text/*` is the service's own text stream. JSON is a line for each value, since the
service's own JSON stream has chunks that nobody appends. Any other type has a character for each
byte, as a message is text. What a stream is called, its type, its TTL, and what its producers have
sent is known to this process only: the service has nothing like it. (The file is long because a
server of the protocol, with everything that its suite writes, is one thing.)
"""

import base64
import json
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import gevent
from flask import Blueprint, Flask, Response, request
from gevent.lock import RLock

from shared.body import Delta, text_body
from shared.lifecycle import Status
from shared.store import asking, conversations, owning
from shared.store.asking import Asking
from shared.store.ending import Ending
from shared.store.owning import Claim, Save
from shared.store.tables import LOCAL_USER
from shared.text import normalise
from web import app as web_app
from web import cors, operations, routes
from web.auth import Right
from web.context import context
from web.dialects.durable_content import Content, Read, Text
from web.faces.durable_streams import StreamFace, encode_offset, read_response
from web.following.message_topic import MessageTopic
from web.wake_ups import wake_message

OWNER: Final = "the conformance suite"
#: Seconds: nothing renews the lease between two appends.
LEASE: Final = 86_400.0
#: Whose pages may read, as the suite asks.
ORIGINS: Final = frozenset({"https://example.com"})
#: The first of 256 characters that stand for bytes.
BYTE: Final = 0x100

blueprint = Blueprint("durable_writer", __name__, url_prefix="/v1/stream")


# --- contents ------------------------------------------------------------------------------------


class Lines(Text):
    """JSON values, a line each."""

    def read(self, source: MessageTopic, offset: int, most: int) -> Read:
        """Values after a position."""
        found = super().read(source, offset, most)
        text = "".join(found.items)
        kept = text[: text.rfind("\n") + 1]
        return Read(kept.split("\n")[:-1], offset + len(kept), all=found.all)

    def joined(self, items: Sequence[str]) -> list[bytes]:
        """An array."""
        return [self.data(items).encode("ascii")]

    def data(self, items: Sequence[str]) -> str:
        """An array."""
        return f"[{','.join(items)}]"


class Bytes(Text):
    """A character for each byte."""

    def joined(self, items: Sequence[str]) -> list[bytes]:
        """The bytes."""
        return [bytes(ord(letter) - BYTE for letter in item) for item in items]

    def data(self, items: Sequence[str]) -> str:
        """In base64."""
        return base64.b64encode(b"".join(self.joined(items))).decode()


class BytesFace(StreamFace):
    """Its events say that they are in base64."""

    headers = {**StreamFace.headers, "Stream-SSE-Data-Encoding": "base64"}  # noqa: RUF012


# --- a stream ------------------------------------------------------------------------------------


@dataclass
class Producer:
    """What one has sent: its epoch, and the last number in it."""

    epoch: int
    seq: int


@dataclass
class Stored:
    """A stream that can be written."""

    type: str
    lifetime: dict[str, str]
    claim: Claim
    conversation: uuid.UUID
    content: Content
    length: int = 0
    closed: bool = False
    seq: str = ""
    expires_at: float | None = None
    producers: dict[str, Producer] = field(default_factory=dict)
    #: who closed it, as which number
    closed_by: tuple[str, int, int] | None = None
    lock: RLock = field(default_factory=RLock)

    def touch(self) -> None:
        """A read or a write: a TTL begins anew."""
        if "Stream-TTL" in self.lifetime:
            self.expires_at = time.time() + int(self.lifetime["Stream-TTL"])

    def write(self, text: str, *, close: bool = False) -> None:
        """Save, as its owner; return once readers in this process can see it."""
        db = context().db
        deltas = [Delta(self.length, 0, "text", text)] if text else []
        save = Save(self.claim.id, self.claim.token, self.length, deltas)
        if close:
            assert owning.finish(db, OWNER, save, Ending(Status.DONE, "stop"))
            self.closed = True
        elif deltas:
            assert owning.save(db, OWNER, LEASE, [save])
        self.length += len(text)
        with context().messages.follow(self.claim.id, LOCAL_USER) as topic:
            while topic.body.length < self.length or (self.closed and topic.end is None):
                wake_message(context().livelog, self.claim.id)
                gevent.sleep(0.005)

    @property
    def headers(self) -> dict[str, str]:
        """Of every answer about it."""
        found = {"Stream-Next-Offset": encode_offset(self.length), **self.lifetime}
        return {**found, "Stream-Closed": "true"} if self.closed else found


_streams: dict[str, Stored] = {}


def stored(name: str) -> Stored | None:
    found = _streams.get(name)
    if found and found.expires_at is not None and found.expires_at <= time.time():
        remove(name)
        return None
    return found


def remove(name: str) -> None:
    found = _streams.pop(name)
    for message_id in conversations.delete(context().db, LOCAL_USER, found.conversation):
        wake_message(context().livelog, message_id)


def made(content_type: str, lifetime: dict[str, str]) -> Stored:
    """A placeholder that is asked for and claimed."""
    db = context().db
    conversation = conversations.create(db, LOCAL_USER, "conformance", None).id
    terms = Asking(LOCAL_USER, "none", {}, None, None, max_open=0, queue_deadline=600, titles=False)
    answer = asking.ask(db, terms, conversation, text_body("?")).answer
    claim = owning.claim(db, answer.id, OWNER, LEASE, LEASE)
    assert claim is not None
    plain = plain_type(content_type)
    content = Lines() if plain == JSON else Text() if plain.startswith("text/") else Bytes()
    content.type = content_type  # type: ignore[misc]  # of this one
    new = Stored(content_type, lifetime, claim, conversation, content)
    new.touch()
    if "Stream-Expires-At" in lifetime:
        new.expires_at = moment(lifetime["Stream-Expires-At"])
    return new


JSON: Final = "application/json"


def plain_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


# --- requests ------------------------------------------------------------------------------------


class Refused(Exception):
    """With a status and headers."""

    def __init__(self, status: int, **headers: Any) -> None:
        super().__init__(status)
        named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        self.response = Response("refused\n", status, named, content_type="text/plain")


@blueprint.errorhandler(Refused)
def refused(error: Refused) -> Response:
    return error.response


def lifetime_of_request() -> dict[str, str]:
    ttl, at = request.headers.get("Stream-TTL"), request.headers.get("Stream-Expires-At")
    if ttl is not None and at is not None:
        raise Refused(400)
    if ttl is not None:
        if not re.fullmatch("0|[1-9][0-9]{0,9}", ttl):
            raise Refused(400)
        return {"Stream-TTL": ttl}
    if at is not None:
        moment(at)
        return {"Stream-Expires-At": at}
    return {}


def moment(value: str) -> float:
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        raise Refused(400) from None


def text_of_request(content: Content, *, may_be_empty: bool) -> str:
    """The request's body as the stream's text."""
    data = request.get_data()
    if isinstance(content, Bytes):
        text = "".join(chr(BYTE + byte) for byte in data)
    elif isinstance(content, Lines):
        text = lines_of(data, may_be_empty=may_be_empty) if data else ""
    else:
        text = normalise(data.decode(errors="replace"))
    if not text and not may_be_empty:
        raise Refused(400)
    return text


def lines_of(data: bytes, *, may_be_empty: bool) -> str:
    try:
        found = json.loads(data)
    except ValueError:
        raise Refused(400) from None
    values = found if isinstance(found, list) else [found]
    if not values and not may_be_empty:
        raise Refused(400)
    return "".join(f"{json.dumps(value, separators=(',', ':'))}\n" for value in values)


def closes() -> bool:
    return request.headers.get("Stream-Closed", "").lower() == "true"


@blueprint.put("/<path:name>")
def create(name: str) -> Response:
    """201, or 200 for a stream that is there and like this."""
    sent = request.headers.get("Content-Type") or "application/octet-stream"
    lifetime, found = lifetime_of_request(), stored(name)
    if found:
        same = (plain_type(found.type), found.lifetime, found.closed)
        if same != (plain_type(sent), lifetime, closes()):
            raise Refused(409)
        return Response(status=200, headers=found.headers, content_type=found.type)
    new = made(sent, lifetime)
    text = text_of_request(new.content, may_be_empty=True)
    if text or closes():
        new.write(text, close=closes())
    _streams[name] = new
    headers = {"Location": request.url, **new.headers}
    return Response(status=201, headers=headers, content_type=sent)


@blueprint.post("/<path:name>")
def append(name: str) -> Response:
    """204, or 200 to a producer."""
    found = stored(name)
    if not found:
        raise Refused(404)
    with found.lock:
        return _append(found)


def _append(found: Stored) -> Response:
    sent, data = request.headers.get("Content-Type"), request.get_data()
    producer = producer_of_request()
    if found.closed:
        return _append_to_closed(found, producer, has_data=bool(data))
    if not (closes() and not data):
        if not sent or not data:
            raise Refused(400)
        if plain_type(sent) != plain_type(found.type):
            raise Refused(409)
    seq = request.headers.get("Stream-Seq")
    headers = check_producer(found, producer) if producer else {}
    if headers.pop("duplicate", None):
        return Response(status=204, headers={**found.headers, **headers})
    if seq is not None and seq <= found.seq:
        raise Refused(409)
    text = text_of_request(found.content, may_be_empty=False) if data else ""
    found.write(text, close=closes())
    found.touch()
    found.seq = found.seq if seq is None else seq
    if producer:
        name, epoch, number = producer
        found.producers[name] = Producer(epoch, number)
        found.closed_by = producer if found.closed else None
    status = 200 if producer and data else 204
    return Response(status=status, headers={**found.headers, **headers})


def _append_to_closed(
    found: Stored, producer: tuple[str, int, int] | None, *, has_data: bool
) -> Response:
    if producer and producer == found.closed_by:
        headers = {"Producer-Epoch": str(producer[1]), "Producer-Seq": str(producer[2])}
        return Response(status=204, headers={**found.headers, **headers})
    if closes() and not has_data and not producer:
        return Response(status=204, headers=found.headers)
    raise Refused(409, **{name.replace("-", "_"): value for name, value in found.headers.items()})


def producer_of_request() -> tuple[str, int, int] | None:
    names = ("Producer-Id", "Producer-Epoch", "Producer-Seq")
    name, *numbers = [request.headers.get(name) for name in names]
    if name is None and numbers == [None, None]:
        return None
    if not name or not all(re.fullmatch("[0-9]{1,15}", number or "") for number in numbers):
        raise Refused(400)
    epoch, seq = (int(number or 0) for number in numbers)
    return name, epoch, seq


def check_producer(found: Stored, producer: tuple[str, int, int]) -> dict[str, str]:
    """Headers of the answer; `duplicate` if it is known already."""
    name, epoch, seq = producer
    known = found.producers.get(name)
    if known is not None and epoch < known.epoch:
        raise Refused(403, Producer_Epoch=known.epoch)
    if known is None or epoch > known.epoch:
        if seq and known is not None:
            raise Refused(400)
        expected = 0
    else:
        expected = known.seq + 1
        if seq < expected:
            return {
                "duplicate": "true", "Producer-Epoch": str(epoch), "Producer-Seq": str(known.seq)
            }  # fmt: skip
    if seq != expected:
        raise Refused(409, Producer_Expected_Seq=expected, Producer_Received_Seq=seq)
    return {"Producer-Epoch": str(epoch), "Producer-Seq": str(seq)}


@blueprint.delete("/<path:name>")
def delete(name: str) -> Response:
    """204."""
    if not stored(name):
        raise Refused(404)
    remove(name)
    return Response(status=204)


@blueprint.get("/<path:name>")
def read(name: str) -> Response:
    """As the service reads a message."""
    found = stored(name)
    if not found:
        raise Refused(404)
    if request.method != "HEAD":
        found.touch()
    dialect = BytesFace if isinstance(found.content, Bytes) else StreamFace
    response = read_response(found.claim.id, found.content, dialect)
    response.headers.update(found.lifetime)
    return response


def create_app() -> Flask:
    """The service, and what writes."""
    routes.BLUEPRINTS = (*routes.BLUEPRINTS, blueprint)  # type: ignore[misc]
    for name in ("create", "append", "delete", "read"):
        routes.RIGHTS[f"durable_writer.{name}"] = Right.WRITE_OWN
        operations.OPERATIONS[f"durable_writer.{name}"] = None
    app = web_app.create_app()
    # A setting lists origins where sign-in is required only; the suite has no credential.
    app.wsgi_app = cors.with_cors(app.wsgi_app, ORIGINS)  # type: ignore[method-assign, assignment]
    return app
