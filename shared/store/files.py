"""Files that questions refer to: kept once for each user, read by whoever may read such a question.

A file is a row with its bytes; which messages refer to it is in `message_files`. The reference is
the permission: a file may be read by those who may read one of its messages, its owner included,
and by nobody else. When its last message is gone (deleted by hand, with its user, or by retention),
a sweep removes it.

Invariant: a file is stored in the transaction that asks with it, which moves `used_at`. So a sweep,
which removes only what was not used for UNUSED_SECONDS and compares that again under its lock,
never removes a file that is about to be referred to. Of a file that is stored already, a question
needs no bytes: it locks the row, moves `used_at` and refers to it.
"""

import uuid
from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection

from shared.errors import NotFound
from shared.media import File, KnownFile, StoredFile
from shared.store.access import may_read
from shared.store.database import Database, run

#: Seconds for which a file to which no message refers is kept: longer than any transaction.
UNUSED_SECONDS: Final = 3600.0
#: Files of which one sweep asks whether a message refers to them, and files that a purge removes.
COMPARED_AT_ONCE: Final = 1_000
REMOVED_AT_ONCE: Final = 100
#: Before all files.
FIRST: Final = uuid.UUID(int=0)

_KEEP: Final = """
WITH kept AS (
    INSERT INTO files (id, user_id, type, data) VALUES (:id, :user, :type, :data)
    ON CONFLICT (id) DO UPDATE SET used_at = clock_timestamp() WHERE files.user_id = :user
    RETURNING id
)
INSERT INTO message_files (message_id, file_id) SELECT :message, id FROM kept
ON CONFLICT DO NOTHING
"""


#: SQL: those of a user among some files.
_OWN: Final = "id = ANY(CAST(CAST(:ids AS text[]) AS uuid[])) AND user_id = :user"
# The rows are locked in order. A file that is gone is not counted.
_REFER: Final = f"""
WITH there AS (
    SELECT id FROM files WHERE {_OWN} ORDER BY id FOR NO KEY UPDATE
), used AS (
    UPDATE files SET used_at = clock_timestamp() WHERE id IN (SELECT id FROM there)
), referred AS (
    INSERT INTO message_files (message_id, file_id)
    SELECT CAST(pair.message AS uuid), there.id
    FROM unnest(CAST(:messages AS text[]), CAST(:ids AS text[])) AS pair (message, file)
    JOIN there ON there.id = CAST(pair.file AS uuid)
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM there
"""


def keep(
    connection: Connection, user_id: uuid.UUID, sent: Iterable[tuple[uuid.UUID, File]]
) -> None:
    """Store the files of messages that this transaction makes: (message, file).

    Raises NotFound for one that was stored and has been removed since.
    """
    ordered = sorted(sent, key=lambda one: one[1].id)  # always in one order: no deadlock
    for stored, group in groupby(ordered, key=lambda one: isinstance(one[1], KnownFile)):
        if stored:
            _refer(connection, user_id, [(message, file.id) for message, file in group])
            continue
        for message, file in group:
            assert isinstance(file, StoredFile)
            run(
                connection,
                _KEEP,
                id=file.id,
                user=user_id,
                type=file.type,
                data=file.data,
                message=message,
            )


def _refer(
    connection: Connection, user_id: uuid.UUID, pairs: Iterable[tuple[uuid.UUID, uuid.UUID]]
) -> None:
    """Let messages refer to files that are stored already: (message, file). Raises NotFound."""
    wanted = sorted(set(pairs))
    there = run(
        connection,
        _REFER,
        user=user_id,
        messages=[str(message) for message, _ in wanted],
        ids=[str(file) for _, file in wanted],
    ).scalar_one()
    if there < len({file for _, file in wanted}):
        raise NotFound("There is no such file.")


_READABLE: Final = f"""
SELECT f.id, f.type, f.data FROM files f WHERE f.id = :id AND EXISTS (
    SELECT FROM message_files r JOIN messages m ON m.id = r.message_id
    JOIN conversations c ON c.id = m.conversation_id
    WHERE r.file_id = f.id AND {may_read("m")} AND c.deleted_at IS NULL)
"""


def load(db: Database, user_id: uuid.UUID, file_id: uuid.UUID) -> StoredFile:
    """A file of a message that this user may read. Raises NotFound."""
    rows = db.rows(_READABLE, id=file_id, user=user_id)
    if not rows:
        raise NotFound("There is no such file.")
    return _stored(rows[0])


def load_own(
    db: Database, user_id: uuid.UUID, ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, StoredFile]:
    """Files of this user with their bytes, by id, for a prompt that the user asks with."""
    if not ids:
        return {}
    rows = db.rows(
        f"SELECT id, type, data FROM files WHERE {_OWN}",
        ids=[str(one) for one in ids],
        user=user_id,
    )
    return {row.id: _stored(row) for row in rows}


def known(
    db: Database, user_id: uuid.UUID, ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, KnownFile]:
    """The same without their bytes, for a question that names files which are stored already."""
    if not ids:
        return {}
    rows = db.rows(
        f"SELECT id, type, octet_length(data) AS size FROM files WHERE {_OWN}",
        ids=[str(one) for one in ids],
        user=user_id,
    )
    return {row.id: KnownFile(row.id, row.type, row.size) for row in rows}


def _stored(row: Any) -> StoredFile:
    return StoredFile(row.id, row.type, bytes(row.data))


#: SQL: no message refers to the file `f`.
_UNREFERENCED: Final = "NOT EXISTS (SELECT FROM message_files r WHERE r.file_id = f.id)"
_REMOVE_UNUSED: Final = f"""
WITH page AS (
    SELECT id FROM files WHERE id > :after ORDER BY id LIMIT :most
), removed AS (
    DELETE FROM files WHERE id IN (
        SELECT f.id FROM files f JOIN page ON page.id = f.id
        WHERE f.used_at < clock_timestamp() - make_interval(secs => :seconds) AND {_UNREFERENCED}
        FOR UPDATE OF f SKIP LOCKED)
)
SELECT id, (SELECT count(*) FROM page) AS files FROM page ORDER BY id DESC LIMIT 1
"""
_REMOVE_OF_DELETED: Final = f"""
DELETE FROM files WHERE id = ANY(ARRAY(
    SELECT f.id FROM files f JOIN users u ON u.id = f.user_id AND u.deleted_at IS NOT NULL
    WHERE f.user_id = :user AND {_UNREFERENCED} LIMIT :most FOR UPDATE OF f SKIP LOCKED))
RETURNING id
"""


def remove_unused(db: Database, after: uuid.UUID = FIRST) -> uuid.UUID:
    """Remove those among some files to which no message refers; after which file to go on.

    Goes through all files in many calls, beginning anew after the last.
    """
    rows = db.rows(_REMOVE_UNUSED, after=after, seconds=UNUSED_SECONDS, most=COMPARED_AT_ONCE)
    return rows[0].id if rows and rows[0].files == COMPARED_AT_ONCE else FIRST


def remove_of_deleted(db: Database, user_id: uuid.UUID) -> int:
    """Remove some files of a deleted user, whose messages are gone; their number."""
    return len(db.rows(_REMOVE_OF_DELETED, user=user_id, most=REMOVED_AT_ONCE))
