"""The streams of events: which frames each has, and what it looks like on the wire."""

import json
from typing import Final

from web.contract.examples import EXAMPLES
from web.contract.operation import Event, Events, Schema
from web.contract.shapes import DeltaShape, GrownBlocksShape, ListChangesShape, ListStateShape
from web.schemas import AskedShape, EndShape

_POSITION: Final[Schema] = {"type": "string", "pattern": "^[0-9]+$"}

END: Final = Event(
    "end",
    EndShape,
    "The message has ended, and everything before it was sent. A client that requests the stream"
    " once more with the id `end` gets a 204.",
    {"const": "end"},
)

_DELTA: Final = Event(
    "delta",
    DeltaShape,
    "A piece of the message, which begins where the event before ended. The id is the position"
    " after it. At most 16 KiB.",
    _POSITION,
)
_WRITTEN: Final = """\
event: delta
data: {"start":0,"part":0,"kind":"text","text":"The sky "}
id: 8

:
event: delta
data: {"start":8,"part":0,"kind":"text","text":"scatters blue light."}
id: 28

event: end
data: {"status":"DONE","finish_reason":"stop","length":28,\
"sha256":"a16795f02ac05d102ced0d4810c4e1e5135b2025edcb854afff37bf1d39755fd",\
"usage":{"prompt_tokens":12,"completion_tokens":6,"source":"reported"},"error":null}
id: end

"""

MESSAGE: Final = Events(
    "The message from a position on: `delta` events as it grows, then one `end`.",
    (_DELTA, END),
    f"retry: 3121\n{_WRITTEN}",
)

ASKED: Final = Events(
    "For `Accept: text/event-stream`: an `accepted` event with both messages, then the stream of"
    " the answer. After `accepted` the question was asked, whatever happens to the connection;"
    " resume on the answer's own stream.",
    (
        Event("accepted", AskedShape, "The question and its answer, which is going to be written."),
        _DELTA,
        END,
    ),
    f"retry: 3121\nevent: accepted\ndata: {json.dumps(EXAMPLES['Asked'])}\n\n{_WRITTEN}",
)

BLOCKS: Final = Events(
    "The message as blocks of HTML: `blocks` events as it grows, then one `end`.",
    (
        Event(
            "blocks",
            GrownBlocksShape,
            "Finished blocks, and the open one as it is now; at most thirty a second. The id is the"
            " position after the last finished block.",
            _POSITION,
        ),
        END,
    ),
    """\
retry: 2210
event: blocks
data: {"blocks":[],"open":{"n":0,"part":0,"kind":"text","meta":null,"start":0,"end":8,\
"joins":false,"html":"<p>The sky</p>\\n"},"position":8}
id: 0

""",
)

NOTICES: Final = Events(
    "The list of conversations: one `state`, then a `change` whenever it differs. It has no end and"
    " no ids: a client that comes back gets the `state` again.",
    (
        Event(
            "state",
            ListStateShape,
            "The hundred conversations that were active last, and all that are being written.",
        ),
        Event("change", ListChangesShape, "What is different from what was sent before."),
    ),
    """\
retry: 4012
event: state
data: {"conversations":[],"next":null}

event: change
data: {"changes":[{"what":["deleted"],"id":"f84b6cdd-7c3b-4c0e-9d4e-0c6b6f1f8f51"}]}

""",
)
