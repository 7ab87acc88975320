"""Questions that come with their whole history: the place is found by what was said.

**Guaranteed.** What is known of a history is reused, and only what is new is written: a hundred
turns, asked one after the other, cost a hundred rows. A turn that was edited begins a branch below
the last one that is known. An assistant's turn that none of our answers has (another service wrote
it, or a person changed it) becomes an ended message without a model. Nobody finds what another
user has said: every look-up is for one user.

**How.** `messages.chain` is a hash of all that was said down to the message (`shared/chain.py`).
Questions get it here, answers when they end. One statement finds the deepest turn that is known.

A first question alone is no history: everybody says "hello". Without the name of a conversation it
begins one of its own, and a history of which only the first question is known does, too. Where
several answers say the same (two talks that are equal so far), one that was not continued yet is
preferred, so that both stay talks of their own.

**A repeat** is the same request of the same credential, which its client says is a repeat. It gets
the answer that is being written or is complete, and nothing is asked. An answer that ended in ERROR
is not joined: whoever repeats wants another try.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from shared.body import text_body
from shared.chain import chain
from shared.lifecycle import Status
from shared.store.access import owns
from shared.store.asking import (
    Asked,
    Asking,
    asking_transaction,
    begin_answer,
    enter,
    load_asked,
    title_of,
    touch,
)
from shared.store.database import Database, run

#: Seconds for which a request can be repeated without a key. The SDKs wait ten minutes for an
#: answer before they repeat.
REPEATED_WITHIN: Final = 900.0
#: Messages that say the same, of which one that was not continued is looked for.
EQUALS: Final = 16


@dataclass(frozen=True, slots=True)
class History:
    """What a client sends: all turns (role, text), the question last, and what it knows of them."""

    turns: Sequence[tuple[str, str]]
    system: str | None = None
    #: the conversation that the client names
    conversation_id: uuid.UUID | None = None
    #: identifies the request and its credential; None: its repeats are not recognised
    repeat_hash: str | None = None
    #: the client says that it repeats a request
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """The deepest turn that is known: how many are, and the last of them."""

    known: int
    conversation: uuid.UUID
    message: uuid.UUID | None


def ask(db: Database, asking: Asking, history: History) -> Asked:
    """What is new of the history, and the placeholder of its answer.

    Raises NotFound for a conversation that is named and not there, and what `asking.ask` raises.
    """
    links = chain(history.turns)
    with asking_transaction(db, asking) as (connection, known):
        found = known or _repeated(connection, asking, history)
        if found:
            return found
        place = _find(connection, asking, history, links)
        if place is None:
            place = _Place(0, _new_conversation(connection, asking, history), None)
            system = None
        else:
            system = _system_of_its_own(connection, place, history)
        question = _add(connection, asking, history, links, place)
        touch(connection, place.conversation)
        return begin_answer(
            connection,
            asking,
            place.conversation,
            question,
            system=system,
            repeat_hash=history.repeat_hash,
        )


# --- a repeat ------------------------------------------------------------------------------------

_REPEATED: Final = f"""
SELECT m.id, m.parent_id FROM messages m JOIN conversations c ON c.id = m.conversation_id
WHERE {owns("m")} AND m.repeat_hash = :hash AND m.status <> '{Status.ERROR}'
    AND m.created_at > clock_timestamp() - make_interval(secs => :within)
    AND c.deleted_at IS NULL
ORDER BY m.seq DESC LIMIT 1
"""


def _repeated(connection: Connection, asking: Asking, history: History) -> Asked | None:
    if not history.is_repeat or history.repeat_hash is None:
        return None
    row = run(
        connection,
        _REPEATED,
        user=asking.user_id,
        hash=history.repeat_hash,
        within=REPEATED_WITHIN,
    ).one_or_none()
    if row is None:
        return None
    return load_asked(connection, row.parent_id, row.id, fresh=False)


# --- the place -----------------------------------------------------------------------------------

_FIND: Final = f"""
SELECT wanted.number, found.id, found.conversation_id
FROM unnest(CAST(:links AS bytea[])) WITH ORDINALITY AS wanted (link, number)
CROSS JOIN LATERAL (
    SELECT equal.id, equal.conversation_id FROM (
        SELECT m.id, m.conversation_id, m.seq FROM messages m
        JOIN conversations c ON c.id = m.conversation_id
        WHERE {owns("m")} AND m.chain = wanted.link AND c.deleted_at IS NULL
            AND (CAST(:conversation AS uuid) IS NULL OR c.id = CAST(:conversation AS uuid))
        ORDER BY m.seq DESC LIMIT {EQUALS}
    ) AS equal
    ORDER BY EXISTS (SELECT FROM messages below WHERE below.parent_id = equal.id), seq DESC LIMIT 1
) AS found
WHERE wanted.number >= :first
ORDER BY wanted.number DESC LIMIT 1
"""


def _find(
    connection: Connection, asking: Asking, history: History, links: Sequence[bytes]
) -> _Place | None:
    """Where the history goes on, in a conversation that is locked; None: in a new one."""
    named = history.conversation_id
    if named is not None:
        enter(connection, asking.user_id, named)
    elif len(links) == 1:
        return None
    row = run(
        connection,
        _FIND,
        user=asking.user_id,
        links=links,
        conversation=named,
        first=1 if named is not None else 2,
    ).one_or_none()
    if row is None:
        return None if named is None else _Place(0, named, None)
    if named is None:
        enter(connection, asking.user_id, row.conversation_id)
    return _Place(row.number, row.conversation_id, row.id)


def _new_conversation(connection: Connection, asking: Asking, history: History) -> uuid.UUID:
    """A conversation that is named by its first words, and by no model.

    Programs ask these questions, and a request to the provider for each of their titles would be
    a second bill. So nobody is its `title_by`.
    """
    made = uuid.uuid4()
    first = next(text for role, text in history.turns if role == "user")
    run(
        connection,
        "INSERT INTO conversations (id, user_id, title, system)"
        " VALUES (:id, :user, CAST(:title AS text), CAST(:system AS text))",
        id=made,
        user=asking.user_id,
        title=title_of(first) if asking.titles else None,
        system=history.system,
    )
    return made


def _system_of_its_own(connection: Connection, place: _Place, history: History) -> str | None:
    """The system text of this answer where it is not its conversation's; "": it has none.

    Who names a conversation and sends no system text means that of the conversation.
    """
    if history.system is None and history.conversation_id is not None:
        return None
    there = run(
        connection, "SELECT system FROM conversations WHERE id = :id", id=place.conversation
    ).scalar_one()
    return None if there == history.system else history.system or ""


# --- what is new ---------------------------------------------------------------------------------

_ADD: Final = f"""
INSERT INTO messages (id, user_id, conversation_id, parent_id, role, status, saved_len, body,
    length, sha256, ended_at, chain)
SELECT CAST(id AS uuid), :user, :conversation, CAST(parent AS uuid), role, '{Status.DONE}', length,
    CAST(body AS jsonb), length, sha256, clock_timestamp(), link
FROM unnest(CAST(:ids AS text[]), CAST(:parents AS text[]), CAST(:roles AS text[]),
    CAST(:bodies AS text[]), CAST(:lengths AS int[]), CAST(:hashes AS text[]),
    CAST(:links AS bytea[])) WITH ORDINALITY
    AS turn (id, parent, role, body, length, sha256, link, number)
ORDER BY number
"""


def _add(
    connection: Connection,
    asking: Asking,
    history: History,
    links: Sequence[bytes],
    place: _Place,
) -> uuid.UUID:
    """Write the turns that are not known, each below the one before; the question's id."""
    new = history.turns[place.known :]
    ids = [uuid.uuid4() for _ in new]
    if not new:
        assert place.message is not None  # all turns are known, so the last one is
        return place.message
    run(
        connection,
        _ADD,
        user=asking.user_id,
        conversation=place.conversation,
        ids=[str(one) for one in ids],
        parents=[str(one) if one else None for one in (place.message, *ids[:-1])],
        roles=[role for role, _ in new],
        bodies=[json.dumps(_parts(text)) for _, text in new],
        lengths=[len(text) for _, text in new],
        hashes=[hashlib.sha256(text.encode()).hexdigest() for _, text in new],
        links=list(links[place.known :]),
    )
    return ids[-1]


def _parts(text: str) -> list[dict[str, Any]]:
    return [{"kind": part.kind, "text": part.text, "meta": None} for part in text_body(text).parts]
