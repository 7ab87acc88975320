"""What exports of everything and of one conversation share: their pieces, and how they are sent."""

import base64
import time
import unicodedata
import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import quote

import structlog
from flask import Response, request

from shared.errors import TooMany, Unavailable
from shared.store import audit
from shared.store.audit import Action
from shared.store.conversations import Conversation
from shared.store.messages import Message
from shared.store.revoked import revoked
from web import responses, sharing
from web.auth import Principal, principal
from web.context import context
from web.following.rights import CHECK_EVERY, held_by
from web.page.yielding import Slices
from web.rate_limits import address

log = structlog.get_logger("account")

#: Users whose exports this process writes now.
_exporting: set[uuid.UUID] = set()


def response(
    pieces: Iterator[bytes], content_type: str, filename: str, of: uuid.UUID | None = None
) -> Response:
    """A file that is sent as it is read, and noted. `of`: the conversation, if it is of one.

    Raises TooMany: one is read at a time for each user in a process.
    """
    sent = Response(content_type=content_type)
    sent.headers["Content-Disposition"] = _attachment(filename)
    sent.headers["Cache-Control"] = "no-store"
    if request.method == "HEAD":
        return sent
    who = principal()
    if who.user_id in _exporting:
        raise TooMany(code="too_many_exports", limit=1)
    exported = _Export(who, pieces)
    try:
        audit.record(
            context().db,
            Action.EXPORTED,
            user_id=who.user_id,
            credential=sharing.credential(),
            object_id=of,
            address=address(),
        )
    except BaseException:
        exported.close()
        raise
    sent.response = exported
    return sent


def _attachment(filename: str) -> str:
    """The header for a file's name of letters of any script, and hyphens (RFC 6266)."""
    plain = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode()
    if plain == filename:
        return f'attachment; filename="{filename}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename)}"


class _Export:
    """An export's bytes; there is one for each user at a time in a process.

    It may take minutes, or longer where its reader is slow. So whoever asked for it is asked about
    again as for a stream: every minute, and at once when something may have been revoked.
    """

    def __init__(self, who: Principal, pieces: Iterator[bytes]) -> None:
        self._who = who
        self._pieces = pieces
        self._db, self._revocations = context().db, context().revocations
        self._checked_at = time.monotonic()
        self._closed = False
        _exporting.add(who.user_id)

    def __iter__(self) -> Iterator[bytes]:
        slices = Slices()
        try:
            for piece in responses.buffered(self._pieces):
                if not self._is_good():
                    break
                yield piece
                slices.pause()
        except Unavailable as error:
            log.warning("export.cut", code=error.code)
        self.close()  # before its reader sees the end, and may ask for the next

    def _is_good(self) -> bool:
        """Whether who asked may still read. Raises StorageDown."""
        who, since = self._who, self._checked_at
        maybe = self._revocations.has_revoked_since(since, who.user_id, who.credential)
        if not maybe and time.monotonic() - since < CHECK_EVERY:
            return True
        self._checked_at = time.monotonic()
        return not list(revoked(self._db, [held_by(who)]))

    def close(self) -> None:
        """Called when it was sent, or its reader is gone."""
        if not self._closed:
            self._closed = True
            _exporting.discard(self._who.user_id)


def line(kind: str, fields: dict[str, Any]) -> Iterator[bytes]:
    """A line of JSON lines, which says in `type` what it is."""
    yield from responses.encoded(
        {"type": kind, **{name: _plain(value) for name, value in fields.items()}}
    )
    yield b"\n"


def _plain(value: Any) -> Any:
    """A value as JSON has it: moments, days and ids are strings, and data is base64."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, uuid.UUID) else value


def in_bytes(texts: Iterator[str]) -> Iterator[bytes]:
    """Texts, the long ones in pieces."""
    for text in texts:
        for start in range(0, len(text), responses.WHOLE):
            yield text[start : start + responses.WHOLE].encode()


def heading(one: Conversation) -> str:
    """How a conversation begins in Markdown."""
    title = " ".join((one.title or "Untitled").split())
    system = "\n> " + one.system.replace("\n", "\n> ") + "\n" if one.system else ""
    return f"\n## {title}\n\n*{one.created_at:%Y-%m-%d %H:%M} UTC*\n{system}"


def turn(message: Message, before: uuid.UUID | None) -> Iterator[str]:
    """A message in Markdown; `before`: the message above it."""
    who = "You" if message.role == "user" else f"Answer ({message.model})"
    branch = " · another branch" if message.parent_id != before else ""
    yield f"\n### {who}{branch}\n\n"
    yield message.body.text
    yield "\n"
    if message.error_message:
        yield f"\n*{message.error_message}*\n"
