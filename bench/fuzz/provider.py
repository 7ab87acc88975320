"""Streams that no provider should send, received exactly as a worker receives them.

    python -m bench.fuzz provider [--seconds 60] [--seed N] [--count N]

Each seed makes one stream: huge names and ids, a hundred thousand calls, deep nesting, countless
parts, giant lines, odd content, usage bombs, bad UTF-8, mutated replies. It is cut into pieces of
any size up to what one read of the socket brings, and may or may not have an end. What must hold:

* No step takes more than STEP_SECONDS of the process' CPU time. A step is what runs between two
  places where other greenlets have a turn: those of transport.py and receiving.py in
  worker/provider. A step that seems too long is measured twice more, and the fastest of the three
  counts, as the machine may just have been busy.
* Between two steps an answer holds at most four bytes for each code point of its text (with the
  tool calls that are collected, and their names) and 1 MiB. Measured with tracemalloc, which is
  slow, on one stream in MEASURED.
* DONE only if the stream had an explicit end.
* The answer keeps its limits: characters with names and ids, and parts.
* Only the exceptions that are part of the contract are raised.

A seed always makes the same stream, so a finding is repeated with `--seed N --count 1`.
"""

import argparse
import gc
import json
import random
import re
import sys
import time
import tracemalloc
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

from scripted import mutations
from shared import gc_tuning
from shared.body import PARTS_MAX
from shared.errors import GenerationFailed
from shared.settings import Settings
from shared.store.owning import Claim
from worker.generation import Generation, TooLong
from worker.provider import receiving
from worker.provider.receiving import Receiver, Response
from worker.provider.refusals import Refusal, RequestForm
from worker.provider.reply import Reply, Write
from worker.provider.transport import BURST_BYTES, READ, YIELD_AFTER

#: Seconds of CPU time that one step may take.
STEP_SECONDS: Final = 0.05
#: Bytes that an answer may hold for each of its code points, and besides.
PER_CHARACTER: Final = 4
BESIDES: Final = 1 << 20
#: Memory is measured on one stream in this many.
MEASURED: Final = 10
#: Characters that an answer may have; mostly as many as in production.
LIMITS: Final = (4_000_000, 4_000_000, 100_000, 1_000)

Dice = random.Random
Frame = dict[str, Any]


# --- streams --------------------------------------------------------------------------------------


def stream(seed: int) -> tuple[bytes, ...]:
    """The stream of this seed, in the pieces in which it arrives."""
    dice = Dice(seed)
    if dice.random() < 0.2:
        return mutations.stream(seed).chunks
    acts = [dice.choice(ACTS) for _ in range(dice.choice((1, 1, 2, 3, 5)))]
    data = b"".join(act(dice) for act in acts)
    if dice.random() < 0.3:
        data = b"".join((frame({"content": "Well, "}), data, frame({"content": "that is all."})))
    if dice.random() < 0.5:
        data += frame({}, "stop") + b"data: [DONE]\n\n"
    if dice.random() < 0.1:
        data = dice.choice(mutations.MUTATIONS)(data, dice)
    if dice.random() < 0.1:
        data = data.replace(b"\n", b"\r\n")
    return tuple(pieces(data, dice))


def pieces(data: bytes, dice: Dice) -> Iterator[bytes]:
    """The data as reads of a socket would bring it."""
    least, most = dice.choice(((READ, READ), (READ, READ), (1, READ), (1000, 5000), (1, 40)))
    if most < 1000 and len(data) > 300_000:
        most = 5000
    at = 0
    while at < len(data):
        size = dice.randint(least, most)
        yield data[at : at + size]
        at += size


def frame(delta: Any, reason: Any = None, **more: Any) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


def _text(dice: Dice) -> bytes:
    alphabet = dice.choice(("abc \n", "日本語", "a\U0001f600", "\0\ud800x", '"\\\t', "<think>/ "))
    return b"".join(
        frame({"content": "".join(dice.choices(alphabet, k=dice.choice((1, 5, 300))))})
        for _ in range(dice.choice((1, 50, 2000)))
    )


def _flapping(dice: Dice) -> bytes:
    """Text and thoughts in turns, a character each."""
    one = frame({"content": "x"}) + frame({"reasoning_content": "y"})
    return one * dice.choice((10, 300, 4000))


def _names(dice: Dice) -> bytes:
    """Tool calls whose huge ids and names are repeated."""
    size = dice.choice((100, 50_000, 400_000))
    count = dice.choice((1, 10, 100)) if size < 400_000 else 5
    function = {"name": "n" * size, "arguments": "{}"}
    calls = [
        {"index": dice.choice((0, number)), "id": str(number) * size, "function": function}
        for number in range(count)
    ]
    return b"".join(frame({"tool_calls": [call]}) for call in calls)


def _calls(dice: Dice) -> bytes:
    """Empty tool calls, many in one frame or in many frames."""
    count, each = dice.choice(((100_000, 1000), (20_000, 1), (5_000, 5_000), (600, 1)))
    frames = []
    for start in range(0, count, each):
        calls = [{"index": number} for number in range(start, start + each)]
        frames.append(frame({"tool_calls": calls}))
    return b"".join(frames)


def _arguments(dice: Dice) -> bytes:
    """One tool call with many small pieces of arguments."""
    piece = {"index": 0, "function": {"arguments": dice.choice(("x", "\U0001f600", "ab" * 500))}}
    return frame({"tool_calls": [piece]}) * dice.choice((10, 5_000))


def _deep(dice: Dice) -> bytes:
    """Nesting, of lists or objects or parts of content."""
    depth = dice.choice((10, 500, 900, 5_000, 100_000))
    start, end = dice.choice((("[", "]"), ('{"text":', "}"), ('[{"content":', "}]")))
    inner = start * depth + '"x"' + end * depth
    return f'data: {{"choices":[{{"delta":{{"content":{inner}}}}}]}}\n\n'.encode()


def _contents(dice: Dice) -> bytes:
    """A list of very many parts."""
    part = dice.choice(
        (
            {"type": "text", "text": "x"},
            {"type": "thinking", "thinking": [{"type": "text", "text": "y"}]},
            {"type": "image_url", "image_url": {"url": "data:x"}},
            [], {}, "x", [[[["x"]]]], {"type": "reasoning", "summary": ["a", {"text": "b"}]}, 7,
        )
    )  # fmt: skip
    return frame({"content": [part] * dice.choice((2, 1000, 3000, 20_000))})


def _giant(dice: Dice) -> bytes:
    """One line of up to three megabytes, made of what parsers find hard."""
    size = dice.choice((100_000, 600_000, 690_000, 990_000, 3_000_000))
    unit = dice.choice(
        ("x", "\\n", "\\u4f60", "\\ud83d", "日", "a b, ", "[],", "{},", "1,", "1e9,", '"a",',
         "[" * 90 + "]" * 90 + ",", '{"a":' * 90 + "1" + "}" * 90 + ",", "9" * 4000 + ",", "{", "[")
    )  # fmt: skip
    body = unit * (size // len(unit))
    value = f"[{body}0]" if unit[-1] in ",[{" else f'"{body}"'
    key = dice.choice(("content", "logprobs", "reasoning", "images", "tool_calls"))
    return f'data: {{"choices":[{{"delta":{{"{key}":{value}}}}}]}}\n\n'.encode()


def _image(dice: Dice) -> bytes:
    """Binary data, which the reply leaves out."""
    size = dice.choice((10_000, 1_600_000, 8_000_000))
    url = "data:image/png;base64," + "iVBORw0K" * (size // 8)
    return frame({"images": [{"type": "image_url", "image_url": {"url": url}}]})


def _nothing(dice: Dice) -> bytes:
    """Megabytes of lines and events without content."""
    unit = dice.choice(
        (b"\n", b":\n", b"\r", b"data:\n\n", b"data: {}\n\n", b"id: 1\n", b"x\n", b"\xff\n",
         frame({}), frame({"content": ""}), b": keep-alive\n\n", b"event: ping\ndata: 1\n\n")
    )  # fmt: skip
    return unit * (dice.choice((1_000, 300_000, 1_000_000)) // len(unit))


def _lines(dice: Dice) -> bytes:
    """One event of many lines."""
    unit = dice.choice((b"data:\n", b"data: a\n", b'data: {"choices":[]}\n', b"data: {}\n"))
    return unit * (dice.choice((1_000, 100_000, 690_000, 2_000_000)) // len(unit)) + b"\n"


def _usage(dice: Dice) -> bytes:
    """A usage with very many items."""
    count = dice.choice((10, 5_000, 50_000))
    usage = {f"tokens {number} {'x' * dice.choice((1, 9))}": number for number in range(count)}
    return frame({}, usage=usage) * dice.choice((1, 3))


def _choices(dice: Dice) -> bytes:
    """Very many choices at once."""
    choice = {"index": dice.choice((0, 0, 1)), "delta": {"content": "x"}}
    choices = [choice] * dice.choice((2, 900, 20_000))
    return b"data: " + json.dumps({"choices": choices}).encode() + b"\n\n"


def _ends(dice: Dice) -> bytes:
    """Repeated finish reasons of all sorts, with text between them."""
    reasons: tuple[Any, ...] = (
        "stop",
        "null",
        "length",
        "max_tokens",
        "x" * 100_000,
        7,
        [],
        {"a": 1},
    )
    return b"".join(
        frame(dice.choice(({}, {"content": "a"})), dice.choice(reasons))
        for _ in range(dice.choice((1, 20)))
    )


def _errors(dice: Dice) -> bytes:
    """Errors of all sorts and sizes."""
    error = dice.choice(mutations.ERRORS)
    size = dice.choice((1, 1000, 30_000))
    return dice.choice(
        (
            b"data: " + json.dumps({"error": [error] * size}).encode() + b"\n\n",
            b"error: " + b"x" * size + b"\n\n",
            b"event: error\ndata: " + b"[" * size + b"\n\n",
            b"data: " + json.dumps({"detail": "model is unsupported " * size}).encode() + b"\n\n",
            b"data: " + json.dumps({"error": "a" * 30 * size}).encode() + b"\n\n",
        )
    )


def _document(dice: Dice) -> bytes:
    """A JSON document instead of a stream, which counts as one only at the beginning."""
    content = "x" * dice.choice((10, 100_000, 690_000, 1_200_000))
    whole = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    return json.dumps(whole).encode() * dice.choice((1, 1, 3))


def _documents(dice: Dice) -> bytes:
    """Many small documents after one another."""
    unit = dice.choice((b"{}", b"[]", b'{"choices":[{"delta":{"content":"x"}}]}\n'))
    return unit * (dice.choice((1_000, 100_000, 690_000)) // len(unit))


def _noise(dice: Dice) -> bytes:
    """Random bytes, line ends included."""
    return dice.randbytes(dice.choice((10, 1_000, 300_000)))


def _tags(dice: Dice) -> bytes:
    """Thoughts in tags, and text that is nearly a tag."""
    piece = dice.choice(("<", "<think", "<think>", "</think", "</think>", "\n", "<think>x</think>"))
    return frame({"content": piece}) * dice.choice((1, 2, 3_000))


ACTS: Final[tuple[Callable[[Dice], bytes], ...]] = (
    _text, _flapping, _names, _calls, _arguments, _deep, _contents, _giant, _giant, _image,
    _nothing, _lines, _usage, _choices, _ends, _errors, _document, _documents, _noise, _tags,
)  # fmt: skip


# --- receiving ------------------------------------------------------------------------------------


class StepTimer:
    """Measures the CPU time between two places where other greenlets have a turn."""

    def __init__(self, at_turn: Callable[[], None]) -> None:
        """`at_turn` is called at each of these places."""
        self._at_turn = at_turn
        self._began = time.thread_time()
        self.slowest = 0.0

    def turn(self, _seconds: float = 0.0) -> None:
        """End a step, and begin the next one."""
        self.slowest = max(self.slowest, time.thread_time() - self._began)
        self._at_turn()
        self._began = time.thread_time()

    def arriving(self, chunks: tuple[bytes, ...]) -> Iterator[bytes]:
        """The pieces, with a turn where the transport gives one."""
        turn_ends = 0.0
        for chunk in chunks:
            if len(chunk) < BURST_BYTES or time.monotonic() > turn_ends:
                self.turn()
                turn_ends = time.monotonic() + YIELD_AFTER
            yield chunk
        self.turn()


@dataclass
class Received:
    """The outcome of one stream."""

    end: str
    slowest: float
    #: bytes held beyond what is allowed; 0 or less: none
    excess: int
    parts: int
    #: characters, with names and ids, beyond the limit
    beyond: int


class Arriving:
    """A response whose head has come."""

    content_type = "text/event-stream"

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.pieces: Iterable[bytes] = chunks


def read(receiver: Receiver, chunks: tuple[bytes, ...], limit: int, *, measure: bool) -> Received:
    """Read a stream into an answer, as `Provider.stream` does after the head of a response."""
    claim = Claim(uuid.UUID(int=0), 1, "fuzz", {}, 0.0, uuid.UUID(int=0))
    excess = -BESIDES
    replies: list[Reply] = []
    gc.collect()
    if measure:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    answer = Generation(claim, limit=limit, grown=_saved)

    def measure_memory() -> None:
        nonlocal excess
        if measure:
            collected = sum(reply._calls.size + reply._later.length for reply in replies)
            room = PER_CHARACTER * (_size(answer) + collected) + BESIDES + before
            if tracemalloc.get_traced_memory()[0] > room:
                gc.collect()  # Python keeps free lists of small tuples and lists, for all answers
            excess = max(excess, tracemalloc.get_traced_memory()[0] - room)

    def remembered(*args: Any, **options: Any) -> Reply:
        replies.append(Reply(*args, **options))
        return replies[-1]

    timer = StepTimer(measure_memory)
    with mock.patch.multiple(receiving, gevent=_Gevent(timer), Reply=remembered):
        end = _end(receiver, Arriving(timer.arriving(chunks)), answer.write)
    timer.turn()
    tracemalloc.stop()
    return Received(end, timer.slowest, excess, len(answer.body.parts), _size(answer) - limit)


def _saved(answer: Generation) -> None:
    """Count all text as saved, so that nothing waits for Postgres."""
    answer.save_state.saved = answer.body.length


def _end(receiver: Receiver, response: Response, write: Write) -> str:
    """The name of its end: DONE, or what was raised."""
    try:
        receiver.receive(response, write, RequestForm("fuzz"))
    except GenerationFailed as failure:
        return failure.code
    except TooLong:
        return "length"
    except Refusal:
        return "refusal"
    except Exception as error:  # noqa: BLE001 - any other exception is a finding
        return f"bug: {type(error).__name__}: {error}"[:200]
    return "DONE"


def _size(answer: Generation) -> int:
    """Code points of an answer, with the names and ids of its parts."""
    metas = (part.meta or {} for part in answer.body.parts)
    return answer.body.length + sum(len(str(v)) for meta in metas for v in meta.values())


class _Gevent:
    """Stands for gevent in worker/provider/receiving.py; no other greenlet runs."""

    def __init__(self, timer: StepTimer) -> None:
        self.sleep = timer.turn

    class Timeout(BaseException):
        """A timeout that never expires, as all of the stream is there."""

        @classmethod
        def start_new(cls, _seconds: float) -> "_Gevent.Timeout":
            return cls()

        def close(self) -> None:
            """Do nothing."""


def may_have_an_end(data: bytes) -> bool:
    """Whether anything in the data may be an explicit end."""
    return re.search(rb'\[DONE\]|finish_reason"\s*:(?!\s*null)|"message"', data) is not None


# --- judging --------------------------------------------------------------------------------------


@dataclass
class Findings:
    """The outcome of many streams."""

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    measured: int = 0
    slowest: tuple[float, int] = (0.0, 0)
    fullest: tuple[int, int] = (-BESIDES, 0)

    def __str__(self) -> str:
        ends = ", ".join(f"{end} {number:,}" for end, number in self.ends.most_common())
        slowest, fullest = self.slowest, self.fullest
        return (
            f"{self.ends.total():,} streams, {len(self.wrong)} wrong\n  {ends}\n"
            f"  slowest step {slowest[0] * 1000:.1f} ms of CPU time (seed {slowest[1]});"
            f" memory measured on {self.measured:,}, at most {(fullest[0] + BESIDES) / 1024:.0f} of"
            f" {BESIDES // 1024} KiB besides the text (seed {fullest[1]})\n"
            + "\n".join(self.wrong[:20])
        )


def examine(receiver: Receiver, seed: int, found: Findings) -> None:
    """Receive one stream, and note what is wrong."""
    chunks = stream(seed)
    limit = Dice(seed + 1).choice(LIMITS)
    one = read(receiver, chunks, limit, measure=False)
    slowest = one.slowest
    for _ in range(2):
        if slowest > STEP_SECONDS:
            slowest = min(slowest, read(receiver, chunks, limit, measure=False).slowest)
    found.ends[one.end] += 1
    found.slowest = max(found.slowest, (slowest, seed))
    again = f"again: python -m bench.fuzz provider --seed {seed} --count 1"
    for wrong, what in (
        (slowest > STEP_SECONDS, f"a step of {slowest * 1000:.0f} ms"),
        (one.end.startswith("bug"), one.end),
        (one.end == "DONE" and not may_have_an_end(b"".join(chunks)), "DONE without an end"),
        (one.parts > PARTS_MAX, f"{one.parts} parts"),
        (one.beyond > 0, f"{one.beyond} characters beyond the limit of {limit}"),
    ):
        if wrong:
            found.wrong.append(f"seed {seed}: {what}; {again}")
    if seed % MEASURED == 0:
        found.measured += 1
        excess = read(receiver, chunks, limit, measure=True).excess
        found.fullest = max(found.fullest, (excess, seed))
        if excess > 0:
            found.wrong.append(f"seed {seed}: {excess} bytes too many are held; {again}")


def run(seconds: float, first: int, count: int | None = None) -> Findings:
    """Examine streams for `seconds`, or `count` of them."""
    receiver = Receiver(Settings())
    found, ends = Findings(), time.monotonic() + seconds
    gc_tuning.freeze()  # as a worker does, or a collection would be part of a step
    seed = first
    while time.monotonic() < ends if count is None else seed < first + count:
        examine(receiver, seed, found)
        seed += 1
    gc_tuning.unfreeze()
    return found


def main(arguments: list[str]) -> int:
    """Run the fuzzer; returns 1 if anything was wrong."""
    parser = argparse.ArgumentParser("python -m bench.fuzz provider", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    parser.add_argument("--count", type=int, help="number of streams, instead of seconds")
    options = parser.parse_args(arguments)
    print(f"from seed {options.seed}", flush=True)
    found = run(options.seconds, options.seed, options.count)
    print(found, flush=True)
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
