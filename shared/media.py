"""Media in questions, as parts of bodies. Pure.

A part of media is text like any other, so that positions, lengths and hashes stay what they are:
its text is an address. That is the https address of an image, the provider's id of a file, or (for
what the client sent itself) where this service has it: `/api/files/<id>`. The meta has what else
the provider gets, and for what is stored here the file's `file` (id), `type` and `bytes`.

The id of a stored file follows from its owner, its type and its content. So the same file of one
user is stored once, and nobody can find out whether another user has it.
"""

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any, Final

from shared.body import Body, Part
from shared.parts import PartKind

#: Where files are read.
ADDRESS: Final = "/api/files/"
#: Bytes of stored files that a prompt may have, and one question. Each is sent in base64, and held
#: while it is sent.
FILES_BYTES: Final = 16 << 20
KINDS: Final = frozenset({PartKind.IMAGE, PartKind.AUDIO, PartKind.FILE})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The bytes of a file and their media type."""

    id: uuid.UUID
    type: str
    data: bytes

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file that is stored already, without its bytes."""

    id: uuid.UUID
    type: str
    size: int


#: A file of a message: one that is stored with it, or that is stored already.
File = StoredFile | KnownFile


def file_of(user_id: uuid.UUID, media_type: str, data: bytes) -> StoredFile:
    """A file as this user's."""
    name = f"{media_type} {hashlib.sha256(data).hexdigest()}"
    return StoredFile(uuid.uuid5(user_id, name), media_type, data)


def write_file(body: Body, kind: PartKind, file: File, **meta: Any) -> None:
    """Append a file to a question's body."""
    known = {"file": str(file.id), "type": file.type, "bytes": file.size}
    body.write(kind, f"{ADDRESS}{file.id}", {**meta, **known}, fresh=True)


def write_address(body: Body, kind: PartKind, address: str, **meta: Any) -> None:
    """Append what is stored elsewhere: an https address, or a provider's id of a file."""
    body.write(kind, address, meta or None, fresh=True)


def file_id(part: Part) -> uuid.UUID | None:
    """The id of the stored file that a part refers to; None if it is stored elsewhere."""
    found = (part.meta or {}).get("file") if part.kind in KINDS else None
    return None if found is None else uuid.UUID(found)


def file_bytes(part: Part) -> int:
    """Bytes of the stored file that a part refers to."""
    meta = part.meta or {}
    return int(meta.get("bytes", 0)) if part.kind in KINDS and "file" in meta else 0


def file_ids(body: Body) -> list[uuid.UUID]:
    """The ids of the stored files of a body, in order."""
    return [found for part in body.parts if (found := file_id(part)) is not None]
