"""Branches of a conversation: the turns of one, from the root to a leaf, in pages.

Messages are a tree by `parent_id`. A turn is a message on the branch that is shown, with the
messages that it could be exchanged for: Retry and Edit made them.
"""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from shared.errors import NotFound
from shared.store.access import may_read
from shared.store.database import Database, QueryBudget
from shared.store.messages import PAGE_CHARS, SELECT, Message, load_all, to_message

#: A conversation is a tree of any size, and its turns are of any length.
TREES: Final = QueryBudget(connections=4, patience=5.0, statement=10.0)
#: What a message counts for besides its text, and each of its siblings: two ids.
MESSAGE_CHARS: Final = 500
SIBLING_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class Turn:
    """A message on a branch, and the messages it could be exchanged for."""

    message: Message
    #: (sibling, newest leaf below it), oldest first, itself included
    siblings: list[tuple[uuid.UUID, uuid.UUID]]


@dataclass(frozen=True, slots=True)
class Page:
    """Some turns of a branch, root first; `above`: whether there are more before them."""

    turns: list[Turn]
    above: bool


def turns(
    db: Database,
    user_id: uuid.UUID,
    conversation_id: uuid.UUID,
    leaf: uuid.UUID | None = None,
    *,
    before: uuid.UUID | None = None,
    limit: int | None = None,
    most: int = PAGE_CHARS,
) -> Page:
    """The last `limit` turns of a branch, those above `before` if that is given. NotFound.

    As many as have `most` code points of text; the last one always. Others are not even loaded.
    """
    tree = _tree(db, user_id, conversation_id)
    if not tree and leaf is None and before is None:
        return Page([], above=False)
    parents = {row.id: row.parent_id for row in tree}
    end = before or leaf or tree[-1].id
    if end not in parents:
        raise NotFound("There is no such message in this conversation.")
    path = _path(parents, end)[: -1 if before else None]
    siblings = _siblings(parents)
    chars = {row.id: row.chars for row in tree}
    shown: list[uuid.UUID] = []
    for node in reversed(path[-limit:] if limit else path):
        most -= chars[node] + MESSAGE_CHARS + SIBLING_CHARS * len(siblings[parents[node]])
        if shown and most < 0:
            break
        shown.insert(0, node)
    rows = db.rows_within(
        TREES,
        f"{SELECT} WHERE m.id = ANY(CAST(:ids AS uuid[])) AND {may_read('m')}",
        ids=[str(message_id) for message_id in shown],
        user=user_id,
    )
    found = {row.id: to_message(row) for row in rows}
    there = [Turn(found[node], siblings[parents[node]]) for node in shown if node in found]
    return Page(there, above=len(shown) < len(path))


class Place(NamedTuple):
    """A message on a branch, and the code points of its text."""

    message_id: uuid.UUID
    chars: int


def above(
    db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID, message_id: uuid.UUID
) -> list[Place]:
    """What stands above a message of a conversation, root first, without any text. NotFound."""
    tree = _tree(db, user_id, conversation_id)
    parents = {row.id: row.parent_id for row in tree}
    if message_id not in parents:
        raise NotFound("There is no such message in this conversation.")
    chars = {row.id: row.chars for row in tree}
    return [Place(node, chars[node]) for node in _path(parents, message_id)[:-1]]


def first_of(
    db: Database, user_id: uuid.UUID, places: Sequence[Place], most: int = PAGE_CHARS
) -> tuple[list[Message], int]:
    """The messages of the first places, and how many places those are.

    As many as have `most` code points of text; the first one always. Others are not even loaded.
    """
    count = 0
    for place in places:
        most -= place.chars + MESSAGE_CHARS
        if count and most < 0:
            break
        count += 1
    ids = [place.message_id for place in places[:count]]
    there = load_all(db, dict.fromkeys(ids, user_id))
    return [there[one] for one in ids if one in there], count


def _tree(db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID) -> list[Any]:
    """(id, parent_id, chars) of each message, oldest first."""
    return db.rows_within(
        TREES,
        "SELECT id, parent_id, coalesce(length, saved_len) AS chars FROM messages"
        f" WHERE conversation_id = :id AND {may_read('messages')} ORDER BY seq",
        id=conversation_id,
        user=user_id,
    )


Parents = dict[uuid.UUID, uuid.UUID | None]


def _path(parents: Parents, leaf: uuid.UUID) -> list[uuid.UUID]:
    path, node = [], leaf
    while True:
        path.append(node)
        above = parents[node]
        if above is None:
            return path[::-1]
        node = above


def _siblings(
    parents: Parents,
) -> dict[uuid.UUID | None, list[tuple[uuid.UUID, uuid.UUID]]]:
    """parent -> its children, oldest first, each with the newest message below it."""
    # From the newest: the first to reach a node from below is the newest below it.
    leaf: dict[uuid.UUID, uuid.UUID] = {}
    for newest_left in reversed(parents):
        node: uuid.UUID | None = newest_left
        while node is not None and node not in leaf:
            leaf[node] = newest_left
            node = parents[node]
    children: dict[uuid.UUID | None, list[tuple[uuid.UUID, uuid.UUID]]] = defaultdict(list)
    for child, above in parents.items():
        children[above].append((child, leaf[child]))
    return children
