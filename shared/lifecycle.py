"""The life of a message: one enum, one table of moves, one set of ends. Pure: no I/O, no clock.

Everything that may happen to a message's status is in TRANSITIONS. The rest follows it:

- Every statement takes its statuses from here (`shared/store/status_sql.py`), and one that moves a
  message names the statuses from which the table allows the move. Four files have such a
  statement: `store/asking.py` (a message begins), `owning.py` (claim, release), `reaping.py`
  (restart) and `ending.py` (every end).
- The database's trigger and CHECKs stand in migrations, which never change. Tests read them from a
  migrated database, and try every pair of statuses there; all must agree with the table.
- The diagram in docs/lifecycle.md is made by `diagram`, and a test keeps the two equal.
"""

from enum import StrEnum


class Status(StrEnum):
    """Where a message is in its life."""

    SENDING = "SENDING"
    STREAMING = "STREAMING"
    DONE = "DONE"
    CANCELLED = "CANCELLED"
    ERROR = "ERROR"


#: from -> {to: what makes it move}
TRANSITIONS: dict[Status, dict[Status, str]] = {
    Status.SENDING: {
        Status.STREAMING: "a worker claims it",
        Status.CANCELLED: "the user presses Stop",
        Status.ERROR: "no worker took it in time",
    },
    Status.STREAMING: {
        Status.DONE: "the provider ended it explicitly, or it reached our limit of length",
        Status.CANCELLED: "the user pressed Stop; the partial is kept",
        Status.ERROR: "it failed; the partial is kept, with a reason",
        Status.SENDING: "its owner is gone or drains, and no character was published",
    },
    Status.DONE: {},
    Status.CANCELLED: {},
    Status.ERROR: {},
}

TERMINAL = frozenset(status for status, moves in TRANSITIONS.items() if not moves)
OPEN = frozenset(Status) - TERMINAL

#: Claims of one message, at most: a message that kills its workers is ended after these.
MAX_TRIES = 3


def sources(after: Status) -> frozenset[Status]:
    """The statuses from which a message may move to `after`."""
    return frozenset(before for before, moves in TRANSITIONS.items() if after in moves)


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documents (a test keeps them equal)."""
    lines = ["stateDiagram-v2", "    [*] --> SENDING: asked; the placeholder is committed"]
    for before, moves in TRANSITIONS.items():
        lines += [f"    {before} --> {after}: {why}" for after, why in moves.items()]
    lines += [f"    {status} --> [*]" for status in Status if status in TERMINAL]
    return "\n".join(lines) + "\n"
