"""The text of a question that carries a script. Pure.

A test writes `script(say("Hello"), pause(1), finish(), usage(), done())` and sends that text as a
question; the scripted provider plays it. The text is ASCII, so that no normalisation on its way can
change the answer.
"""

import json
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


def script(
    *steps: Step,
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
    """
    manner = {"tag": tag, "role": role, "crlf": crlf, "space": space, "event": event, "size": size}
    if varies:
        manner["varies"] = True
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
        return Script(steps=steps, **value)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a script: {error}") from error


def _checked(do: str, **fields: Any) -> Step:
    return STEPS[do](**fields)
