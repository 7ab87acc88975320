"""Broken streams: a good reply made from a seed, and then changed in ways that can happen. Pure.

A question with `mutated(seed)` contains only the number. tests/oracle.py makes the same stream from
it to compute how the answer has to end.

The file is longer than others because it is one generator: a good reply, its mutations, its chunks.
"""

import json
import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

from scripted.frames import has_surrogates
from scripted.question import script
from scripted.steps import mutated

Dice = random.Random
Frame = dict[str, Any]

#: What happens to the connection after the last byte: the proper end of the body; a close in order
#: or a reset before it; an invalid chunk of HTTP; or nothing at all.
Close = Literal["whole", "closed", "reset", "torn", "hanging"]
CLOSES: Final[dict[Close, float]] = {
    "whole": 55,
    "closed": 16,
    "reset": 18,
    "torn": 8,
    "hanging": 3,
}


class Stream(NamedTuple):
    """The body of a reply: the chunks that HTTP sends it in, and how it ends."""

    chunks: tuple[bytes, ...]
    close: Close

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.chunks)


def question(seed: int) -> str:
    """The question that is answered by this stream and nothing else."""
    return script(mutated(seed), role=False)


def stream(seed: int) -> Stream:
    """The broken stream of this number; about one in ten is good."""
    dice = Dice(seed)
    data = good(dice)
    for _ in range(dice.choice((0, 1, 1, 1, 1, 1, 2, 2, 3, 6))):
        data = dice.choice(MUTATIONS)(data, dice)
    [close] = dice.choices(tuple(CLOSES), tuple(CLOSES.values()))
    return Stream(tuple(in_chunks(data, dice)), close)


# --- a good reply --------------------------------------------------------------------------------

#: Text that looks like something else, or that cannot be stored.
TEXTS: Final = (
    "Hello", " there", "\n\n", "\r", "\r\n", "€", "你好", "שלום", "e\u0301", "\U0001f600",
    "\U0001f469\u200d\U0001f467", "\u2028", "\u2029", "\x85", "\x0b\x1c", "\ufeff", "\ufffd",
    "\0", "\ud83d", "\ude00", "a\ud83d", "\ude00b", '"', "\\", "\\u0000", "data: [DONE]\n\n",
    '"finish_reason":"stop"', ": comment", "event: error", "null", "{}", " ", "\t", "x" * 700,
)  # fmt: skip
FIELDS: Final = ("content", "content", "content", "reasoning_content", "reasoning", "refusal")
REASONS: Final = ("stop", "stop", "stop", "length", "content_filter", "tool_calls", "st\0op\ud800")
ERRORS: Final = (
    {"message": "The server had an error", "type": "server_error", "code": None},
    "overloaded",
    529,
    [1],
)
#: Values in the place of others. Those of RAW are not Python values but the JSON itself.
WRONG_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 7, 1.5, 1 << 53, 1 << 80, "", "0", "stop", "\0", [], {}, [[]],
    [7], [{}], {"0": {}}, {"content": "x"}, {"message": "deep"},
)  # fmt: skip
RAW: Final = (
    "9" * 5000, "1e999", "-1e-999", "NaN", "-Infinity", "01", "[" * 200 + "]" * 200,
    '{"a":' * 200 + "1" + "}" * 200, "[" * 100_000, '"\\ud83d"', '"\\u0000"',
    '"\\x"', "'a'", "tru", "",
)  # fmt: skip
#: Stands for a value of RAW until the JSON is written.
RAW_MARK: Final = "raw value number "
LONG_LINE: Final = 1_100_000


def good(dice: Dice) -> bytes:
    """A reply as a provider may send it, in one of many forms; at times with a wrong value."""
    frames = deepcopy(_frames(dice))  # so that no constant of this module is changed
    for _ in range(dice.choice((0, 0, 0, 0, 0, 1, 1, 2))):
        _put_wrong_value(dice.choice(frames), dice)
    manner = _Manner(dice)
    blocks = [manner.block(frame) for frame in frames]
    if dice.random() < 0.8:
        blocks.append(manner.frame("[DONE]"))
    return manner.beginning + b"".join(blocks)


def _frames(dice: Dice) -> list[Frame]:
    """The chunks of a whole reply, usually with its end and its usage."""
    frames = [_chunk({"role": "assistant", "content": ""})] if dice.random() < 0.8 else []
    for _ in range(dice.randint(1, 12)):
        frames.append(_chunk(_tool_call(dice) if dice.random() < 0.15 else _text(dice)))
        if dice.random() < 0.1:
            frames.append(dice.choice(({}, {"choices": []}, _chunk({}), _chunk({"content": None}))))
    if dice.random() < 0.05:
        frames.append({"error": dice.choice(ERRORS)})
    if dice.random() < 0.85:
        last = {"content": "."} if dice.random() < 0.2 else {}
        frames.append(_chunk(last, dice.choice(REASONS)))
    if dice.random() < 0.7:
        frames.append({"choices": [], "usage": _usage(dice)})
    if dice.random() < 0.1:
        dice.shuffle(frames)
    return frames


def _chunk(delta: Frame, reason: str | None = None) -> Frame:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}


def _text(dice: Dice) -> Frame:
    fields = dice.sample(FIELDS, 2 if dice.random() < 0.1 else 1)
    return {field: "".join(dice.choices(TEXTS, k=dice.randint(1, 3))) for field in fields}


def _tool_call(dice: Dice) -> Frame:
    """A piece of one of three calls, which may grow in turns."""
    index = dice.randrange(3)
    function = {"name": f"f{index}", "arguments": dice.choice(("", '{"a":', '"\ud83d', "1}", "\0"))}
    call: Frame = {"index": index, "type": "function", "function": function}
    return {"tool_calls": [call | {"id": f"call_{index}"} if dice.random() < 0.5 else call]}


def _usage(dice: Dice) -> Frame:
    details = {"cached_tokens": dice.randrange(9), "deeper": {"x": 1}}
    return {
        "prompt_tokens": dice.randrange(99),
        "completion_tokens": dice.choice((0, 7, -1, True, 1.5, 1 << 53)),
        "prompt_tokens_details": dice.choice((None, details, {"a\0": 1})),
    }


class _Manner:
    """How all frames of a reply are written."""

    def __init__(self, dice: Dice) -> None:
        self.newline = dice.choices(("\n", "\r\n", "\r"), (6, 3, 1))[0]
        self.beginning = b"\xef\xbb\xbf" if dice.random() < 0.05 else b""
        self._field = "data: " if dice.random() < 0.8 else "data:"
        self._event = dice.choice(("", "", "", "chunk", "message"))
        self._escaped = dice.random() < 0.5
        self._dice = dice

    def block(self, frame: Frame) -> bytes:
        """One chunk as a frame, at times with a line before it that means nothing."""
        dice, text = self._dice, json.dumps(frame, ensure_ascii=self._escaped)
        if has_surrogates(text) and dice.random() < 0.9:
            text = json.dumps(frame)
        for number, raw in enumerate(RAW):
            text = text.replace(f'"{RAW_MARK}{number}"', raw)
        if dice.random() < 0.001:
            text = "{" + " " * LONG_LINE + text[1:]
        noise = dice.choice(
            ("", "", "", "", ": keep-alive", "id: 7", "retry: 1", "nonsense", ": é")
        )
        before = f"{noise}{self.newline}" if noise else ""
        return _encoded(before) + self.frame(text)

    def frame(self, text: str) -> bytes:
        """This data as a frame."""
        event = f"event: {self._event}{self.newline}" if self._event else ""
        return _encoded(f"{event}{self._field}{text}{self.newline}{self.newline}")


def _encoded(text: str) -> bytes:
    """Encode; lone surrogates become bytes that are not UTF-8, which is a mutation too."""
    return text.encode("utf-8", "surrogatepass")


def _put_wrong_value(frame: Frame, dice: Dice) -> None:
    """Put another value at one place of a chunk, or remove it."""
    places = list(_places(frame))
    if not places:
        return
    where, key = dice.choice(places)
    if dice.random() < 0.1:
        del where[key]
    elif dice.random() < 0.3:
        where[key] = f"{RAW_MARK}{dice.randrange(len(RAW))}"
    else:
        where[key] = deepcopy(dice.choice(WRONG_VALUES))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Everything that a value contains, as (container, key)."""
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = tuple(value.items())
    elif isinstance(value, list):
        items = tuple(enumerate(value))
    inner = [place for _, item in items for place in _places(item)]
    return [(value, key) for key, _ in items] + inner


# --- mutations -----------------------------------------------------------------------------

#: Bytes that mean something where they should not be, or that are invalid everywhere.
TOKENS: Final = (
    b"\n", b"\n\n", b"\r", b"\r\n", b"\r\r", b"\n\r", b"\0", b"\xe2\x82", b"\xf0\x9f", b"\xff",
    b"\xc0\x80", b"\xed\xa0\xbd", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"{}", b"[]",
    b"null", b'"', b"\\", b"\\ud83d", b"\\u0000", b",", b"}", b"]}", b'"error":1,', b'"index":0,',
    b"data", b"data:", b"data: ", b"data: [DONE]\n\n", b"\ndata: [DONE]\n\n", b"[DONE]", b":",
    b"event: error\n", b"event: done\ndata: {}\n\n", b"\nid: 7\0\n", b"retry: 99999999999999999\n",
    b'data: {"choices":[{"finish_reason":"stop"}]}\n\n', b'"finish_reason":"stop",', b":\xc3\xa9\n",
)  # fmt: skip


def _span(data: bytes, dice: Dice) -> tuple[int, int]:
    start = dice.randrange(len(data) + 1)
    return start, min(len(data), start + dice.choice((1, 1, 2, 3, 10, 50, 200)))


def flip(data: bytes, dice: Dice) -> bytes:
    """Flip one bit."""
    at = dice.randrange(len(data)) if data else 0
    return (
        data[:at]
        + bytes(byte ^ 1 << dice.randrange(8) for byte in data[at : at + 1])
        + data[at + 1 :]
    )


def delete(data: bytes, dice: Dice) -> bytes:
    """Delete a range."""
    start, end = _span(data, dice)
    return data[:start] + data[end:]


def double(data: bytes, dice: Dice) -> bytes:
    """Repeat a range."""
    start, end = _span(data, dice)
    return data[:end] + data[start:]


def swap(data: bytes, dice: Dice) -> bytes:
    """Exchange two adjacent ranges."""
    start, middle = _span(data, dice)
    end = min(len(data), middle + dice.choice((1, 5, 100)))
    return data[:start] + data[middle:end] + data[start:middle] + data[end:]


def insert(data: bytes, dice: Dice) -> bytes:
    """Insert a token, or random bytes."""
    at, _ = _span(data, dice)
    token = dice.choice(TOKENS) if dice.random() < 0.8 else dice.randbytes(dice.randint(1, 9))
    return data[:at] + token + data[at:]


def insert_before_a_line(data: bytes, dice: Dice) -> bytes:
    """Insert a token at the beginning of a line, where it is likelier to be parsed."""
    at = data.find(b"\n", dice.randrange(len(data) + 1)) + 1
    return data[:at] + dice.choice(TOKENS) + data[at:]


def overwrite(data: bytes, dice: Dice) -> bytes:
    """Replace a range by random bytes."""
    start, end = _span(data, dice)
    return data[:start] + dice.randbytes(end - start) + data[end:]


def truncate(data: bytes, dice: Dice) -> bytes:
    """End it at any byte."""
    return data[: dice.randrange(len(data) + 1)]


def other_newlines(data: bytes, dice: Dice) -> bytes:
    """Use other line ends."""
    old, new = dice.sample((b"\n", b"\r\n", b"\r"), 2)
    return data.replace(old, new)


def empty_lines(data: bytes, dice: Dice) -> bytes:
    """Insert empty lines: some, or very many."""
    at, _ = _span(data, dice)
    return data[:at] + b"\n" * dice.choice((1, 2, 3, 500)) + data[at:]


def _by_frames(change: Callable[[list[bytes], int, Dice], None]) -> Callable[[bytes, Dice], bytes]:
    def mutation(data: bytes, dice: Dice) -> bytes:
        blank = next((b for b in (b"\r\n\r\n", b"\n\n", b"\r\r") if b in data), b"\n\n")
        *frames, rest = data.split(blank)
        if frames:
            change(frames, dice.randrange(len(frames)), dice)
        return b"".join(frame + blank for frame in frames) + rest

    return mutation


def _repeat(frames: list[bytes], at: int, dice: Dice) -> None:
    frames.insert(dice.randrange(len(frames) + 1), frames[at])


def _move(frames: list[bytes], at: int, dice: Dice) -> None:
    frames.insert(dice.randrange(len(frames)), frames.pop(at))


def _drop(frames: list[bytes], at: int, dice: Dice) -> None:
    del dice, frames[at]


def _join(frames: list[bytes], at: int, dice: Dice) -> None:
    """Join two frames into one of several lines."""
    del dice
    frames[at : at + 2] = [b"\n".join(frames[at : at + 2])]


def _finish_early(frames: list[bytes], at: int, dice: Dice) -> None:
    del dice
    frames.insert(at, b"data: [DONE]")


Mutation = Callable[[bytes, Dice], bytes]
MUTATIONS: Final[tuple[Mutation, ...]] = (
    flip, flip, delete, double, swap, insert, insert, insert_before_a_line, insert_before_a_line,
    overwrite, truncate, truncate, truncate, truncate, other_newlines, empty_lines,
    _by_frames(_repeat), _by_frames(_move), _by_frames(_drop), _by_frames(_join),
    _by_frames(_finish_early),
)  # fmt: skip


# --- in chunks ----------------------------------------------------------------------------------


def in_chunks(data: bytes, dice: Dice) -> list[bytes]:
    """The data in chunks, cut anywhere: mostly few, sometimes a hundred small ones."""
    count = dice.choice((1, 1, 2, 3, 5, 8, 20)) if dice.random() < 0.97 else 100
    edges = sorted({0, len(data), *(dice.randrange(len(data) + 1) for _ in range(count - 1))})
    return [data[start:end] for start, end in pairwise(edges)]
