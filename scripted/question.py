"""The text of a question that carries a script. Pure.

A test writes `script(say("Hello"), pause(1), finish(), usage(), done())` and sends that text as a
question; the scripted provider plays it. The text is ASCII, so that no normalisation on its way can
change the answer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scripted.steps import STEPS, Step

#: bytes that a normal frame is padded to, as the real API does
FRAME_BYTES = 600


@dataclass(frozen=True)
class Script:
    """A reply: its steps, and how all frames are written."""

    steps: list[Step] = field(default_factory=list)
    tag: str = ""
    role: bool = True
    crlf: bool = False
    space: bool = True
    event: str = ""
    size: int = FRAME_BYTES
    varies: bool = False
    #: what is played to a request that brings the results of the calls
    after: list[Step] = field(default_factory=list)
    #: what is played to the plain questions below it: the first, the second, and so on
    below: list[list[Step]] = field(default_factory=list)


def script(
    *steps: Step,
    after: Sequence[Step] = (),
    below: Sequence[Sequence[Step]] = (),
    tag: str = "",
    role: bool = True,
    crlf: bool = False,
    space: bool = True,
    event: str = "",
    size: int = FRAME_BYTES,
    varies: bool = False,
) -> str:
    """The question whose answer is these steps.

    `tag` distinguishes equal scripts; `role` sends the role chunk first; `crlf`, `space`, `event`
    choose the line ends, the blank after `data:` and an `event:` line; `size` pads the frames.
    With `varies` each request gets another text, as from a real model: see `answers.expected`.
    `after`: the steps of the answer to the results of the tools that `steps` call. `below`: those
    of the answers to the next questions, which are plain ones, as those of Continue.
    """
    manner = {"tag": tag, "role": role, "crlf": crlf, "space": space, "event": event, "size": size}
    if varies:
        manner["varies"] = True
    if after:
        manner["after"] = list(after)
    if below:
        manner["below"] = [list(one) for one in below]
    return json.dumps({"script": steps, **manner}, separators=(",", ":"))


#: Scripts that a question asks for by name, with `{"case": name}`: those of cases.py.
NAMED: dict[str, str] = {}


def parse_script(text: str) -> Script | None:
    """The script in a question, None for a plain one; ValueError for a broken script.

    Where several questions were joined into one turn, the last of them counts.
    """
    try:
        value = json.loads(text.rpartition("\n\n")[2])
    except ValueError:
        return None
    if isinstance(value, dict) and value.get("case") in NAMED:
        value = json.loads(NAMED[value["case"]])
    if not isinstance(value, dict) or "script" not in value:
        return None
    try:
        steps = [_checked(**step) for step in value.pop("script")]
        after = [_checked(**step) for step in value.pop("after", ())]
        below = [[_checked(**step) for step in one] for one in value.pop("below", ())]
        return Script(steps=steps, after=after, below=below, **value)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a script: {error}") from error


def question_below(questions: Sequence[str]) -> str:
    """The question that the last one stands for: itself, or what a script above has for it."""
    for count, question in enumerate(reversed(questions)):
        found = parse_script(question)
        if found is not None and 0 < count <= len(found.below):
            return script(*found.below[count - 1])
        if found is not None:
            break
    return questions[-1]


def question_after(question: str, results: Sequence[str]) -> str:
    """The question that these results of tools, which the script in `question` called, stand for.

    The last result may be a script itself; else the script's `after` is played, and without one a
    plain answer to the results.
    """
    if results and parse_script(results[-1]) is not None:
        return results[-1]
    found = parse_script(question)
    return script(*found.after) if found is not None and found.after else "\n\n".join(results)


def _checked(do: str, **fields: Any) -> Step:
    return STEPS[do](**fields)
