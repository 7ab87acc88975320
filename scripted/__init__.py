"""The scripted provider: an OpenAI-compatible API whose answers are given by the questions.

* `steps`, `refusals`, `question`: the language of scripts, `script(say("Hello"), finish(), done())`
* `answers`: the text that a script gives, computed without the server
* `cases`, `mutations`: scripts of what real providers do, and of broken streams
* `client`: starts the server and asks it which requests it saw
* `server`, `player`, `frames`, `wire`, `ledger`: the server, from its routes to its records
"""

from scripted import cases
from scripted.answers import Answer, expected, generated
from scripted.client import Control, Scripted, start_scripted
from scripted.ledger import Record
from scripted.question import FRAME_BYTES, Script, parse_script, script
from scripted.refusals import rate_limited, too_long, unknown_model, wrong_key
from scripted.steps import (
    big_line,
    comment,
    cut,
    data,
    done,
    empty,
    end,
    error_object,
    finish,
    half_utf8,
    hold,
    hostile,
    image,
    long,
    malformed,
    mutated,
    noise,
    pause,
    raw,
    reasoning,
    refuse,
    refuse_option,
    role,
    say,
    slow_headers,
    status,
    tool_call,
    torn,
    usage,
)

__all__ = [
    "FRAME_BYTES",
    "Answer",
    "Control",
    "Record",
    "Script",
    "Scripted",
    "big_line",
    "cases",
    "comment",
    "cut",
    "data",
    "done",
    "empty",
    "end",
    "error_object",
    "expected",
    "finish",
    "generated",
    "half_utf8",
    "hold",
    "hostile",
    "image",
    "long",
    "malformed",
    "mutated",
    "noise",
    "parse_script",
    "pause",
    "rate_limited",
    "raw",
    "reasoning",
    "refuse",
    "refuse_option",
    "role",
    "say",
    "script",
    "slow_headers",
    "start_scripted",
    "status",
    "too_long",
    "tool_call",
    "torn",
    "unknown_model",
    "usage",
    "wrong_key",
]
