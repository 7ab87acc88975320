"""Plays one reply to one connection."""

import asyncio
import json
import time
from email.utils import formatdate
from itertools import pairwise
from typing import Any

from scripted import mutations, refusals, wire
from scripted.answers import expected
from scripted.frames import Frames, Piece, usage_object
from scripted.ledger import Ended, Ledger, Record
from scripted.question import Script
from scripted.steps import REQUESTS, Step, role

#: steps that are played before the status line
BEFORE = {"status", "refuse", "refuse_option", "slow_headers"}


class Player:
    """Plays a script to a client. `ended` is set as soon as the last byte is written."""

    def __init__(
        self, connection: wire.ClientConnection, ledger: Ledger, record: Record, script: Script
    ) -> None:
        self.ended: Ended = "running"
        self._connection = connection
        self._ledger = ledger
        self._record = record
        self._script = script
        self._asked = record.request or {}
        self._model = str(self._asked.get("model"))
        self._frames = Frames(script, record.number, self._model, int(time.time()))
        self._clock = time.monotonic()  #: when the next step is due, by the script's own times

    async def play(self, question: str) -> None:
        """The steps before the status line; then the stream, or the whole answer at once."""
        record = self._record
        record.steps = len(self._script.steps)
        for step in self._script.steps:
            if step["do"] in BEFORE:
                await self._before(step, question)
            elif not record.stream:
                await self._whole(question)
            else:
                await self._stream_step(step)
            if self.ended != "running":
                return
            record.reached += 1
        await (self._end() if record.stream else self._whole(question))

    # --- before the status line ---

    async def _before(self, step: Step, question: str) -> None:
        if step["do"] == "slow_headers":
            await self._slow_headers(step)
        elif self._applies(step) and self._ledger.refuses(self._key(step, question), step["times"]):
            await self._refuse(step)

    def _applies(self, step: Step) -> bool:
        match step:
            case {"do": "refuse_option", "name": wanted} | {"when": wanted} if wanted:
                return is_about(wanted, self._asked)
        return True

    def _key(self, step: Step, question: str) -> tuple[object, ...]:
        """The key by which refusals are counted; a stream's are counted apart from others."""
        return (self._record.stream, step["key"] or (question, self._record.reached))

    async def _slow_headers(self, step: Step) -> None:
        await asyncio.sleep(step["seconds"])
        if step["hold"]:
            await self._ledger.hold(self._record, step["hold"])

    async def _refuse(self, step: Step) -> None:
        self.ended = "refused"
        match step:
            case {"do": "status", "code": code}:
                body = refusals.encoded(step["body"], code)
                await self._answer(code, body, {**retry_after(step), **(step["headers"] or {})})
            case {"do": "refuse_option", "name": name}:
                await self._answer(400, refusals.encoded(refusals.unsupported(name), 400))

    async def _answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._record.status = code
        self._ledger.wrote(self._record)
        await self._connection.write(wire.answer(code, body, headers))

    # --- the whole answer ---

    async def _whole(self, question: str) -> None:
        self.ended = "whole"
        answer = expected(question)
        self._record.characters = len(answer.body)
        value = whole_answer(self._script, question, self._model, self._record.number)
        await self._answer(200, json.dumps(value).encode())

    # --- the stream ---

    async def _stream_step(self, step: Step) -> None:
        if not self._record.status:
            await self._begin()
        match step:
            case {"do": "hold", "name": name}:
                await self._ledger.hold(self._record, name)
                self._clock = time.monotonic()
            case {"do": "cut"}:
                await self._cut(step)
            case {"do": "mutated", "seed": seed}:
                await self._mutated(mutations.stream(seed))
            case {"do": "end"}:
                await self._end()
            case {"do": "done"} if self._record.reached + 1 == len(self._script.steps):
                await self._end(self._frames.frame("[DONE]"))
            case {"do": "usage", "always": False} if not self._wants_usage():
                pass
            case _:
                await self._pieces(step)

    async def _begin(self) -> None:
        self._record.status = 200
        self._clock = time.monotonic()
        await self._write(wire.STREAM_HEAD)
        if self._script.role:
            await self._pieces(role())

    async def _pieces(self, step: Step) -> None:
        start = self._clock
        for piece in self._frames.pieces(step):
            self._clock = start + piece.due
            await asyncio.sleep(max(0.0, self._clock - time.monotonic()))
            await self._piece(piece)

    async def _piece(self, piece: Piece) -> None:
        if piece.data:
            await self._write(wire.chunked(piece.data), piece.characters)

    async def _write(self, data: bytes, characters: int = 0) -> None:
        self._ledger.wrote(self._record, characters)
        await self._connection.write(data)

    async def _end(self, last: bytes = b"") -> None:
        """End the body, in one write with the last frame."""
        if not self._record.status:
            await self._begin()
        self.ended = "whole"
        self._record.reached = self._record.steps
        await self._write((wire.chunked(last) if last else b"") + wire.END)

    async def _cut(self, step: Step) -> None:
        frame = self._frames.content(step["text"])
        at = len(frame) // 2 if step["at"] is None else step["at"]
        if at > 0:
            await self._write(wire.chunked(frame)[: -2 - len(frame) + min(at, len(frame))])
        await self._break_off(reset=step["abort"])

    async def _mutated(self, stream: mutations.Stream) -> None:
        for chunk in stream.chunks:
            await self._write(wire.chunked(chunk))
        match stream.close:
            case "whole":
                await self._end()
            case "hanging":
                await asyncio.Event().wait()  # until the client disconnects
            case "torn":
                await self._write(wire.NO_CHUNK)
        if stream.close != "whole":
            await self._break_off(reset=stream.close == "reset")

    async def _break_off(self, *, reset: bool) -> None:
        """Close the connection before the end of the body."""
        await self._connection.acknowledged()  # a reset would discard what was not received
        self.ended = "scripted_cut"
        if reset:
            self._connection.reset()

    def _wants_usage(self) -> bool:
        options = self._asked.get("stream_options")
        return isinstance(options, dict) and bool(options.get("include_usage"))


def is_about(wanted: str, asked: dict[str, Any]) -> bool:
    """Whether a request has this option, or is one of steps.REQUESTS."""
    if wanted not in REQUESTS:
        return wanted in asked
    roles = [message.get("role") for message in asked.get("messages", ())]
    return {
        "streamed": asked.get("stream") is True,
        "system": "system" in roles,
        "repeated": any(one == other for one, other in pairwise(roles)),
    }[wanted]


def retry_after(step: Step) -> dict[str, str]:
    seconds: float | None = step["retry_after"]
    if seconds is None:
        return {}
    date = formatdate(time.time() + seconds, usegmt=True)
    return {"retry-after": date if step["as_date"] else f"{seconds:g}"}


def whole_answer(script: Script, question: str, model: str, number: int) -> dict[str, Any]:
    """The response to a request without `stream`."""
    answer = expected(question)
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    calls = [tool_call(step) for step in script.steps if step["do"] == "tool_call"]
    if calls:
        message["tool_calls"] = calls
    reasons = [step["reason"] for step in script.steps if step["do"] == "finish"]
    reason = reasons[0] if reasons else "stop"
    counted = [(s["prompt"], s["completion"]) for s in script.steps if s["do"] == "usage"]
    return {
        "id": f"chatcmpl-{number:012d}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": usage_object(*(counted or [(11, 22)])[0]),
    }


def tool_call(step: Step) -> dict[str, Any]:
    function = {"name": step["name"], "arguments": step["arguments"]}
    return {"id": step["call_id"], "type": "function", "function": function}
