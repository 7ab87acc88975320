"""The scripted provider: an OpenAI-compatible API that answers as its questions say.

`steps`, `refusals` and `question` write the script, `answers` knows what a reader of it has in the
end, `client` starts the server and asks it what it saw.
"""

from local.scripted.answers import Answer, expected, generated
from local.scripted.client import Control, Scripted, start_scripted
from local.scripted.ledger import Record
from local.scripted.question import FRAME_BYTES, Script, parse_script, script
from local.scripted.refusals import rate_limited, too_long, unknown_model, wrong_key
from local.scripted.steps import (
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
    long,
    malformed,
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
    "long",
    "malformed",
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
