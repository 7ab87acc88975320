"""The kinds of part that a message has, and what each kind means to the rest. Pure.

A message is a list of parts (`shared/body.py`), each of one kind. Everything that treats kinds
differently asks for a trait here instead of comparing names, so a new kind is one line of `PARTS`.
In SQL the same traits choose the parts (`shared/store/part_sql.py`).

A row or a payload may have a kind that this version does not know: it was written by a newer one,
or by an older one. Such a part is kept and shown, and counts for nothing else.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple


class PartKind(StrEnum):
    """A kind of part, by its name in rows and on the wire."""

    TEXT = "text"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"
    # of questions
    TOOL_RESULT = "tool_result"
    IMAGE = "image"
    AUDIO = "audio"
    FILE = "file"


class Traits(NamedTuple):
    """What a kind of part means."""

    #: it is the message's text, as clients show it and copy it
    is_text: bool = False
    #: it is sent to the provider as history
    in_prompt: bool = False
    #: the search finds its words
    searched: bool = False
    #: a title is made from it
    titled: bool = False
    #: the page shows it as Markdown; otherwise as it is
    markdown: bool = False


UNKNOWN: Final = Traits()

PARTS: Final[dict[str, Traits]] = {
    PartKind.TEXT: Traits(is_text=True, in_prompt=True, searched=True, titled=True, markdown=True),
    PartKind.REASONING: Traits(markdown=True),
    # The arguments of a call, and the result that a client sent: `shared/tool_calls.py`.
    PartKind.TOOL_CALL: Traits(in_prompt=True),
    PartKind.TOOL_RESULT: Traits(in_prompt=True),
    # Media, whose text is an address: `shared/media.py`.
    PartKind.IMAGE: Traits(in_prompt=True),
    PartKind.AUDIO: Traits(in_prompt=True),
    PartKind.FILE: Traits(in_prompt=True),
}


def traits(kind: str) -> Traits:
    """What this kind means; UNKNOWN for one that this version does not know."""
    return PARTS.get(kind, UNKNOWN)


def is_text(kind: str) -> bool:
    """Whether a part of this kind is the message's text."""
    return traits(kind).is_text


def kinds(wanted: Callable[[Traits], bool]) -> list[str]:
    """The names of the kinds with wanted traits, in their order."""
    return [str(kind) for kind, its in PARTS.items() if wanted(its)]
