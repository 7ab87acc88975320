"""Turns steps into bytes, each with its time after the step's start. Pure."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

from scripted.answers import generated, hostile
from scripted.question import Script
from scripted.steps import Chunk, Step


class Piece(NamedTuple):
    """One write."""

    data: bytes = b""
    characters: int = 0
    due: float = 0.0  #: seconds after the step's start before which it is not written


Pieces = Iterator[Piece]


class Frames:
    """The frames of one reply; its methods below `pieces` are named after the steps they write."""

    def __init__(self, script: Script, number: int, model: str, created: int) -> None:
        self._newline = "\r\n" if script.crlf else "\n"
        self._field = "data: " if script.space else "data:"
        self._event = f"event: {script.event}{self._newline}" if script.event else ""
        self._size = script.size
        self._head = (
            f'{{"id":"chatcmpl-{number:012d}","object":"chat.completion.chunk",'
            f'"created":{created},"model":{json.dumps(model)},"service_tier":"default",'
            '"system_fingerprint":"fp_scripted",'
        )

    def pieces(self, step: Step) -> Pieces:
        fields = dict(step)
        return cast("Pieces", getattr(self, fields.pop("do"))(**fields))

    # --- one frame ---

    def frame(self, data: str) -> bytes:
        return self._line(data).encode()

    def content(self, text: str, escaped: bool = False) -> bytes:
        return self.delta(f'{{"content":{quoted(text, escaped)}}}')

    def delta(self, delta: str, finish: str | None = None, index: int = 0) -> bytes:
        reason = json.dumps(finish)
        choice = f'{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{reason}}}'
        return self._chunk(f'"choices":[{choice}],"usage":null')

    def _chunk(self, rest: str) -> bytes:
        start = f'{self._head}{rest},"obfuscation":"'
        bare = self._line(start + '"}').encode()
        padding = "x" * (self._size - len(bare))
        return self.frame(f'{start}{padding}"}}') if padding else bare

    def _line(self, data: str) -> str:
        return f"{self._event}{self._field}{data}{self._newline}{self._newline}"

    # --- steps ---

    def say(
        self,
        text: str,
        *,
        chunk: Chunk,
        rate: float | None,
        seed: int,
        escaped: bool,
        split_pairs: bool,
    ) -> Pieces:
        units = utf16_units(text) if split_pairs else text
        return paced(units, chunk, rate, seed, lambda piece: self.content(piece, escaped))

    def long(self, characters: int, rate: float | None, chunk: Chunk, seed: int) -> Pieces:
        return paced(generated(characters, seed), chunk, rate, seed, self.content)

    def hostile(
        self, characters: int, kind: str, rate: float | None, chunk: Chunk, seed: int
    ) -> Pieces:
        field = "content" if kind == "text" else "reasoning_content"
        return self.reasoning(utf16_units(hostile(characters, seed)), field, chunk, rate, seed)

    def reasoning(
        self, text: str, field: str, chunk: Chunk, rate: float | None, seed: int
    ) -> Pieces:
        name = json.dumps(field)
        return paced(text, chunk, rate, seed, lambda t: self.delta(f"{{{name}:{quoted(t)}}}"))

    def tool_call(
        self,
        *,
        call_id: str,
        name: str,
        arguments: str,
        index: int,
        chunk: Chunk,
        rate: float | None,
    ) -> Pieces:
        function = {"name": name, "arguments": ""}
        yield Piece(self._call({"index": index, "id": call_id, "type": "function"}, function))
        yield from paced(
            arguments, chunk, rate, 0, lambda t: self._call({"index": index}, {"arguments": t})
        )

    def _call(self, call: dict[str, Any], function: dict[str, str]) -> bytes:
        return self.delta(json.dumps({"tool_calls": [{**call, "function": function}]}))

    def noise(self, text: str, index: int) -> Pieces:
        yield Piece(self.delta(json.dumps({"content": text}), index=index))

    def torn(self, text: str, at: int, seconds: float) -> Pieces:
        frame = self.content(text)
        yield Piece(frame[:at])
        yield Piece(frame[at:], len(text), seconds)

    def pause(self, seconds: float) -> Pieces:
        yield Piece(due=seconds)

    def comment(self, count: int, text: str, every: float) -> Pieces:
        for turn in range(count):
            yield Piece(f": {text}{self._newline}{self._newline}".encode(), due=turn * every)

    def empty(self, count: int, every: float) -> Pieces:
        for turn in range(count):
            yield Piece(self.delta('{"content":""}' if turn % 2 else "{}"), due=turn * every)

    def role(self) -> Pieces:
        yield Piece(self.delta('{"role":"assistant","content":null,"refusal":null}'))

    def finish(self, reason: str, text: str) -> Pieces:
        delta = json.dumps({"content": text} if text else {})
        yield Piece(self.delta(delta, finish=reason), len(text))

    def usage(self, prompt: int, completion: int, always: bool) -> Pieces:
        del always  # the player asked already
        numbers = json.dumps(usage_object(prompt, completion))
        yield Piece(self._chunk(f'"choices":[],"usage":{numbers}'))

    def done(self) -> Pieces:
        yield Piece(self.frame("[DONE]"))

    def raw(self, data: str) -> Pieces:
        yield Piece(base64.b64decode(data))

    def data(self, value: Any) -> Pieces:
        yield Piece(self.frame(json.dumps(value)))

    def malformed(self, line: str) -> Pieces:
        yield Piece(self.frame(line))

    def half_utf8(self) -> Pieces:
        yield Piece(self.content("half a euro: €").replace("€".encode(), "€".encode()[:2]))

    def big_line(self, size: int) -> Pieces:
        overhead = len(self.content("x" * size)) - size - 2 * len(self._newline)
        text = "x" * (size - overhead)
        yield Piece(self.content(text), len(text))

    def image(self, size: int) -> Pieces:
        url = f"data:image/png;base64,{'iVBORw0K' * (size // 8)}"
        images = [{"type": "image_url", "image_url": {"url": url}}]
        yield Piece(self.delta(json.dumps({"content": None, "images": images})))

    def error_object(self, error: Any) -> Pieces:
        yield from self.data({"error": error})


def paced(
    text: str, chunk: Chunk, rate: float | None, seed: int, frame: Callable[[str], bytes]
) -> Pieces:
    """The text in pieces, due so that they arrive at this rate."""
    per_second = rate or float("inf")
    sent = 0
    for piece in cut_up(text, chunk, seed):
        yield Piece(frame(piece), len(piece), sent / per_second)
        sent += len(piece)
    yield Piece(due=sent / per_second)


def cut_up(text: str, chunk: Chunk, seed: int = 0) -> Iterator[str]:
    """Pieces of `chunk` characters, or of random sizes between its two bounds."""
    least, most = (chunk, chunk) if isinstance(chunk, int) else chunk
    dice = random.Random(seed)  # noqa: S311 (sizes of pieces are no secret)
    start = 0
    while start < len(text):
        size = max(1, least + int(dice.random() * (most - least + 1)))
        yield text[start : start + size]
        start += size


def utf16_units(text: str) -> str:
    """The text with every character beyond U+FFFF as its two surrogates."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(chr(int.from_bytes(units[at : at + 2])) for at in range(0, len(units), 2))


def quoted(text: str, escaped: bool = False) -> str:
    """A JSON string: UTF-8 as the real API sends, or ASCII if asked for or needed."""
    return json.dumps(text, ensure_ascii=escaped or has_surrogates(text))


def has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def usage_object(prompt: int, completion: int) -> dict[str, int]:
    total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
