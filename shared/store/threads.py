"""Questions that come with their whole history: the place is found by what was said.

**Guaranteed.** What is known of a history is reused, and only what is new is written: a hundred
turns, asked one after the other, cost a hundred rows. A turn that was edited begins a branch below
the last one that is known. An assistant's turn that none of our answers has (another service wrote
it, or a person changed it) becomes an ended message without a model. Nobody finds what another
user has said: every look-up is for one user.

**How.** `messages.chain` is a hash of all that was said down to the message (`shared/chain.py`).
Questions get it here, answers when they end. One statement finds the deepest turn that is known.
Files of turns that are known are not written again.

A conversation is named by its id, or by a name of the client's own (`History.name`), from which an
id follows. The first question with a name makes the conversation.

A client may also name the answer that its turns are said below (`History.below`). Then they are the
new ones alone, and nothing is looked for.

A first question alone is no history: everybody says "hello". Without the name of a conversation it
begins one of its own, and a history of which only the first question is known does, too. Where
several answers say the same (two talks that are equal so far), one that was not continued yet is
preferred, so that both stay talks of their own.

**A repeat** is the same request of the same credential, which its client says is a repeat. It gets
the answer that is being written or has just ended, and nothing is asked. An answer that ended in
ERROR is not joined: whoever repeats wants another try. Nor is one that ended longer ago than an SDK
waits before it repeats. Its client has it, and the repeat is of an equal request that never reached
us (a deploy, a limit), which wants an answer of its own.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection

from shared import naming
from shared.body import Body
from shared.chain import ROOT, chain
from shared.errors import Conflict, Invalid, NotFound
from shared.lifecycle import OPEN, Status
from shared.media import File
from shared.store import client_requests, files
from shared.store.access import may_write, owns
from shared.store.asking import (
    Asked,
    Asking,
    Newest,
    asking_transaction,
    begin_answer,
    body_columns,
    enter,
    load_asked,
    must_be_called,
    touch,
)
from shared.store.database import Database, run
from shared.tool_calls import results_of

#: Seconds after the end of an answer for which its request can be repeated without a key. The SDKs
#: wait two minutes at most before they repeat.
REPEATED_WITHIN: Final = 120.0
#: Messages that say the same, of which one that was not continued is looked for.
EQUALS: Final = 16


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody said. `files`: those of its media that are stored here."""

    role: Literal["user", "assistant"]
    body: Body
    files: Sequence[File] = ()


@dataclass(frozen=True, slots=True)
class History:
    """What a client sends: all turns, the question last, and what it knows of them."""

    turns: Sequence[Turn]
    system: str | None = None
    #: the system text is of this answer alone: it does not become that of a conversation. Without
    #: one, that of the conversation holds
    system_is_own: bool = False
    #: the conversation that the client names by our id; NotFound if it is not there
    conversation_id: uuid.UUID | None = None
    #: the client's own name of a conversation: the id of one of the user's is that one, every other
    #: name is one of its own, which is made if it is not there
    name: str | None = None
    #: the answer that the turns are said below, or the newest one of the conversation that is
    #: named; they are only the new ones then. None: their place is found by what was said
    below: uuid.UUID | Newest | None = None
    #: where all turns are known, and the newest answer to the question is open: join that one
    joins: bool = False
    #: the same if it has ended in one of these ways: the client has seen something of it
    joins_ended: Collection[Status] = ()
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
    #: the link of `message` where the turns hang from it
    link: bytes | None = None


def ask(db: Database, asking: Asking, history: History) -> Asked:
    """What is new of the history, and the placeholder of its answer.

    Raises NotFound for a conversation that is named and not there, and what `asking.ask` raises.
    """
    with asking_transaction(db, asking) as (connection, known):
        found = known or _repeated(connection, asking, history)
        if found:
            return found
        place, links = _placed(connection, asking, history)
        if place is None:
            place = _Place(0, _new_conversation(connection, asking, history), None)
            system = history.system if history.system_is_own else None
        else:
            found = _joined(connection, history, place)
            if found:
                return found
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


def _placed(
    connection: Connection, asking: Asking, history: History
) -> tuple[_Place | None, Sequence[bytes | None]]:
    """Where the turns go, None for a new conversation, and the link of each of them."""
    if history.below is not None:
        below = _below(connection, asking, history)
        return below, _links_below(connection, history, below)
    links = _links(connection, history.turns)
    return _find(connection, asking, _named(connection, asking, history), links), links


# --- a repeat ------------------------------------------------------------------------------------

_REPEATED: Final = f"""
SELECT m.id, m.parent_id FROM messages m JOIN conversations c ON c.id = m.conversation_id
WHERE {owns("m")} AND m.repeat_hash = :hash AND m.status <> '{Status.ERROR}'
    AND (m.ended_at IS NULL OR m.ended_at > clock_timestamp() - make_interval(secs => :within))
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


_NEWEST_ANSWER: Final = """
SELECT id, parent_id, status FROM messages
WHERE parent_id = :question AND role = 'assistant' ORDER BY seq DESC LIMIT 1
"""


def _joined(connection: Connection, history: History, place: _Place) -> Asked | None:
    """The answer that the client comes back to."""
    joined = {*(OPEN if history.joins else ()), *history.joins_ended}
    if not joined or place.known < len(history.turns):
        return None
    row = run(connection, _NEWEST_ANSWER, question=place.message).one_or_none()
    if row is None or row.status not in joined:
        return None
    return load_asked(connection, row.parent_id, row.id, fresh=False)


# --- below an answer that is named ----------------------------------------------------------------

_ABOVE: Final = f"""
SELECT m.id, m.role, m.status, m.chain, m.conversation_id FROM messages m
JOIN conversations c ON c.id = m.conversation_id
WHERE {may_write("m")} AND c.deleted_at IS NULL AND {client_requests.is_there("m")}
"""


def _below(connection: Connection, asking: Asking, history: History) -> _Place:
    """Below the answer that the client names, in a conversation that is locked.

    Raises NotFound, Invalid for what is no answer and for results of tools that it did not call,
    and Conflict for one that has not ended.
    """
    if isinstance(history.below, Newest):
        named = _named(connection, asking, history)
        assert named is not None
        newest = f"{_ABOVE} AND m.conversation_id = :id AND m.role = 'assistant'"
        above = run(
            connection, f"{newest} ORDER BY m.seq DESC LIMIT 1", user=asking.user_id, id=named
        ).one_or_none()
        if above is None:
            return _Place(0, named, None, ROOT)
    else:
        one = f"{_ABOVE} AND m.id = :id"
        above = run(connection, one, user=asking.user_id, id=history.below).one_or_none()
        if above is None:
            raise NotFound("There is no such answer.")
        enter(connection, asking.user_id, above.conversation_id)
    if above.role != "assistant":
        raise Invalid(code="not_an_answer")
    if above.status in OPEN:
        raise Conflict(code="answer_open")
    first = history.turns[0]
    results = results_of(first.body)
    if results:
        must_be_called(connection, asking.user_id, above.id, results)
    return _Place(0, above.conversation_id, above.id, above.chain)


def _links_below(connection: Connection, history: History, place: _Place) -> Sequence[bytes | None]:
    """The links of turns below a message; none where that has none."""
    if place.link is None:
        return [None] * len(history.turns)
    return _links(connection, history.turns, bytes(place.link))


# --- names ---------------------------------------------------------------------------------------


def id_of_name(db: Database, user_id: uuid.UUID, name: str) -> uuid.UUID:
    """The id of the conversation that this name of a client's own is, or would be.

    The id of a conversation of this user names that one; every other name has an id of its own.
    """
    with db.transaction() as connection:
        return _id_of_name(connection, user_id, name)


def _id_of_name(connection: Connection, user_id: uuid.UUID, name: str) -> uuid.UUID:
    try:
        named = uuid.UUID(name)
    except ValueError:
        return uuid.uuid5(user_id, name)
    own = "SELECT FROM conversations c WHERE c.id = :id AND " + owns("c")
    found = run(connection, own, id=named, user=user_id).one_or_none()
    return uuid.uuid5(user_id, name) if found is None else named


def _named(connection: Connection, asking: Asking, history: History) -> uuid.UUID | None:
    """The conversation that the client names; locked, and there. Raises NotFound."""
    if history.conversation_id is not None:
        enter(connection, asking.user_id, history.conversation_id)
        return history.conversation_id
    if history.name is None:
        return None
    named = _id_of_name(connection, asking.user_id, history.name)
    _new_conversation(connection, asking, history, named)
    try:
        enter(connection, asking.user_id, named)
    except NotFound:
        raise NotFound("The conversation of this name has been deleted.") from None
    return named


# --- the place -----------------------------------------------------------------------------------

_SAID: Final = """
SELECT message_said(turn.role, CAST(turn.body AS jsonb)) AS said
FROM unnest(CAST(:roles AS text[]), CAST(:bodies AS text[])) WITH ORDINALITY
    AS turn (role, body, number)
ORDER BY number
"""


def _links(connection: Connection, turns: Sequence[Turn], above: bytes = ROOT) -> list[bytes]:
    """The link of each turn, root first. `above`: that of what they hang from."""
    roles = [turn.role for turn in turns]
    bodies = [body_columns(turn.body)["body"] for turn in turns]
    said = run(connection, _SAID, roles=roles, bodies=bodies)
    return chain((bytes(row.said) for row in said), above)


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
    connection: Connection, asking: Asking, named: uuid.UUID | None, links: Sequence[bytes]
) -> _Place | None:
    """Where the history goes on, in a conversation that is locked; None: in a new one."""
    if named is None and len(links) == 1:
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


def _new_conversation(
    connection: Connection, asking: Asking, history: History, named: uuid.UUID | None = None
) -> uuid.UUID:
    """A conversation with a title of its first words, and of no model. `named`: its id, if it has
    one; then it may be there.

    Programs ask these questions, and a request to the provider for each of their titles would be
    a second bill. So nobody is its `title_by`.
    """
    made = named or uuid.uuid4()
    first = next(turn.body for turn in history.turns if turn.role == "user")
    run(
        connection,
        "INSERT INTO conversations (id, user_id, title, system)"
        " VALUES (:id, :user, CAST(:title AS text), CAST(:system AS text))"
        " ON CONFLICT (id) DO NOTHING",
        id=made,
        user=asking.user_id,
        title=naming.by_question(first.text) if asking.titles else None,
        system=None if history.system_is_own else history.system,
    )
    return made


def _system_of_its_own(connection: Connection, place: _Place, history: History) -> str | None:
    """The system text of this answer where it is not its conversation's; "": it has none.

    Who names a conversation and sends no system text means that of the conversation.
    """
    if history.system_is_own:
        return history.system
    if history.system is None and (history.conversation_id or history.name) is not None:
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
    links: Sequence[bytes | None],
    place: _Place,
) -> uuid.UUID:
    """Write the turns that are not known, each below the one before; the question's id."""
    new = history.turns[place.known :]
    ids = [uuid.uuid4() for _ in new]
    if not new:
        assert place.message is not None  # all turns are known, so the last one is
        return place.message
    rows = [body_columns(turn.body) for turn in new]
    run(
        connection,
        _ADD,
        user=asking.user_id,
        conversation=place.conversation,
        ids=[str(one) for one in ids],
        parents=[str(one) if one else None for one in (place.message, *ids[:-1])],
        roles=[turn.role for turn in new],
        bodies=[row["body"] for row in rows],
        lengths=[row["length"] for row in rows],
        hashes=[row["sha256"] for row in rows],
        links=list(links[place.known :]),
    )
    sent = [(one, file) for turn, one in zip(new, ids, strict=True) for file in turn.files]
    files.keep(connection, asking.user_id, sent)
    return ids[-1]
