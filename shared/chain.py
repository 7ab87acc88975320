"""The place of a turn in a conversation as a hash: of what was said from the root down to it. Pure.

A client that sends the whole history with each question names no place. Its place is found by what
was said: a chain of hashes over (role, text), in which each link covers all links above it. So one
look-up finds a turn of any depth, and two histories meet in a link only where they are equal up to
it. System texts are no links: they are instructions for one answer, and nobody said them.

`shared.store.ending` computes the link of an answer in SQL (`linked`), because only Postgres has
the text of an answer that was saved by several owners. A test compares the two.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

#: What the first turn hangs from.
ROOT: Final = bytes(32)


def link(above: bytes, role: str, text: str) -> bytes:
    """The 32 bytes of a turn below `above`, which are 32 bytes, too.

    A role has no colon, so no two turns are hashed as the same bytes.
    """
    return hashlib.sha256(above + f"{role}:{text}".encode()).digest()


def chain(turns: Iterable[tuple[str, str]]) -> list[bytes]:
    """The link of each turn (role, text), root first."""
    links, above = [], ROOT
    for role, text in turns:
        above = link(above, role, text)
        links.append(above)
    return links


def linked(above: str, role: str, text: str) -> str:
    """SQL: the link of a turn below `above` (bytea). `role` is one of our words; the others are
    SQL."""
    return f"sha256({above} || convert_to('{role}:' || {text}, 'UTF8'))"
