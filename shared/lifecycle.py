"""The life of a message: one enum, one table of moves, one set of ends.

Everything that may happen to a message's status is in TRANSITIONS; the database's trigger is
built from the same table, and every write that moves a status names the status it comes from.
Pure: no I/O, no clock.
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
        Status.CANCELLED: "somebody presses Stop",
        Status.ERROR: "nobody took it in time",
    },
    Status.STREAMING: {
        Status.DONE: "the provider said it was done, explicitly",
        Status.CANCELLED: "somebody pressed Stop; the partial is kept",
        Status.ERROR: "it failed; the partial is kept, with a reason",
        Status.SENDING: "its owner is gone and no character was ever published",
    },
    Status.DONE: {},
    Status.CANCELLED: {},
    Status.ERROR: {},
}

TERMINAL = frozenset(status for status, moves in TRANSITIONS.items() if not moves)
OPEN = frozenset(Status) - TERMINAL

#: Claims one message may use up before a lost worker ends it (a poison message stops here).
MAX_TRIES = 3


def can_move(before: Status, after: Status) -> bool:
    """Whether the table knows the move."""
    return after in TRANSITIONS[before]


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documents (a test keeps them equal)."""
    lines = ["stateDiagram-v2", "    [*] --> SENDING: asked; the placeholder is committed"]
    for before, moves in TRANSITIONS.items():
        lines += [f"    {before} --> {after}: {why}" for after, why in moves.items()]
    lines += [f"    {status} --> [*]" for status in Status if status in TERMINAL]
    return "\n".join(lines) + "\n"
