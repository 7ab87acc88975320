"""The place of a turn in a conversation as a hash: of what was said from the root down to it.

A client that sends the whole history with each question names no place. Its place is found by what
was said: a chain of hashes, in which each link covers all links above it. So one look-up finds a
turn of any depth, and two histories meet in a link only where they are equal up to it.

What a turn says is a hash of its role and body, and is computed in one place: the SQL function
`message_said` (migration 0007), for the answer that ends and for the history that comes. It covers

    of answers    the text, joined, and then the calls: id, name, and arguments as a JSON value
    of questions  each part: text, result (with the id of its call), media (with its details)

and nothing else. Thoughts are left out, as clients do not send them back; so are system texts,
which are instructions for one answer. Arguments count as a value, not as they are spelled: clients
parse them and write them anew, with other spaces, another order or `1` in place of `1.0`. Arguments
that are no JSON, or JSON that Postgres cannot hold, count as text.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

#: What the first turn hangs from.
ROOT: Final = bytes(32)


def chain(said: Iterable[bytes], above: bytes = ROOT) -> list[bytes]:
    """The link of each turn, root first, from the hashes of what the turns say. `above`: the link
    of the turn that they hang from."""
    links = []
    for one in said:
        above = hashlib.sha256(above + one).digest()
        links.append(above)
    return links


def linked(above: str, role: str, body: str) -> str:
    """SQL: the link of a turn below `above` (bytea). `role` is one of our words; the others are
    SQL."""
    return f"sha256({above} || message_said('{role}', {body}))"
