"""The scripted provider's server: the OpenAI-compatible routes, and the control routes."""

import asyncio
import contextlib
import json
import time
from dataclasses import asdict
from itertools import takewhile
from typing import Any

from scripted import wire
from scripted.answers import script_for_call, script_of
from scripted.ledger import Ended, Ledger, Record, text_of
from scripted.player import Player
from scripted.question import question_after, question_below
from scripted.refusals import error_body

MODELS = ("scripted", "scripted-large")  #: they answer alike


class ProviderServer:
    """The routes, and the records of all requests."""

    def __init__(self) -> None:
        self.ledger = Ledger(time.monotonic)
        self._playing: set[wire.ClientConnection] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the one request of a connection until either side closes it."""
        with contextlib.closing(writer), contextlib.suppress(asyncio.CancelledError, OSError):
            try:
                request = await wire.read_request(reader)
            except (ValueError, EOFError, asyncio.LimitOverrunError):
                return
            with contextlib.closing(wire.ClientConnection(reader, writer)) as connection:
                await self._serve(connection, request)

    async def _serve(self, connection: wire.ClientConnection, request: wire.Request) -> None:
        match (request.method, request.path):
            case ("POST", "/v1/chat/completions"):
                await self._chat(connection, request)
            case ("GET", "/v1/models"):
                await connection.write(wire.json_answer(models()))
            case (_, path) if path.startswith("/control/"):
                value = await self._control(request)
                await connection.write(wire.json_answer(value, 404 if value is None else 200))
            case (_, path):
                unknown = error_body(f"Invalid URL ({request.method} {path})")
                await connection.write(wire.json_answer(unknown, 404))

    # --- chat completions ---

    async def _chat(self, connection: wire.ClientConnection, request: wire.Request) -> None:
        record = self.ledger.open()
        ended: Ended = "client_closed"
        self._playing.add(connection)
        try:
            ended = await self._played(connection, record, request)
        finally:
            self._playing.discard(connection)
            self.ledger.close(record, ended)

    async def _played(
        self, connection: wire.ClientConnection, record: Record, request: wire.Request
    ) -> Ended:
        try:
            question = parse_request(record, request)
            script = script_of(question)
            if script.varies and record.stream:
                script = script_for_call(question, self.ledger.call_of(question))
            player = Player(connection, self.ledger, record, script)
        except ValueError as error:
            record.status = 400
            await connection.write(wire.json_answer(error_body(str(error)), 400))
            return "refused" if await connection.finish() else "client_closed"
        self.ledger.changed()
        await play_while_connected(connection, player, question)
        if player.ended in {"running", "scripted_cut"}:
            return "client_closed" if player.ended == "running" else "scripted_cut"
        return player.ended if await connection.finish() else "client_closed"

    # --- control ---

    async def _control(self, request: wire.Request) -> Any:
        asked = request.query
        match (request.method, request.path.split("/")[2:]):
            case ("GET", ["requests"]):
                return [asdict(record) for record in self._selected(asked)]
            case ("GET", ["wait"]):
                count = int(asked.get("count", 1))
                await self._until(lambda: len(self._selected(asked)) >= count, asked)
                return [asdict(record) for record in self._selected(asked)]
            case ("GET", ["held"]):
                count, name = int(asked.get("count", 1)), asked.get("name")
                if name is not None:
                    await self._until(lambda: len(self.ledger.held.get(name, [])) >= count, asked)
                return {name: numbers for name, numbers in self.ledger.held.items() if numbers}
            case ("POST", ["release", name]):
                return {"released": self.ledger.release(name)}
            case ("POST", ["reset"]):
                return self._reset()
        return None

    def _selected(self, asked: dict[str, str]) -> list[Record]:
        ended = asked.get("ended", "0") not in {"", "0"}
        return self.ledger.select(asked.get("contains", ""), int(asked.get("request", 0)), ended)

    async def _until(self, true: Any, asked: dict[str, str]) -> None:
        await self.ledger.until(true, float(asked.get("timeout", 30)))

    def _reset(self) -> dict[str, int]:
        """Cut what is running, and forget everything."""
        cut = len(self._playing)
        for connection in self._playing:
            connection.reset()
        self.ledger.reset()
        return {"cut": cut}


async def play_while_connected(
    connection: wire.ClientConnection, player: Player, question: str
) -> None:
    """Play until the reply ends or the client disconnects."""
    play = asyncio.ensure_future(player.play(question))
    try:
        await asyncio.wait({play, connection.closed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        play.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await play


def parse_request(record: Record, request: wire.Request) -> str:
    """Note a request in its record and return its question; ValueError if it is not valid."""
    record.headers = {n: v for n, v in request.headers.items() if n != "authorization"}
    record.has_key = len(request.headers.get("authorization", "").removeprefix("Bearer ")) > 0
    record.request = asked = json_object(request.body)
    record.stream = asked.get("stream", False)
    messages = asked.get("messages")
    if not isinstance(record.stream, bool):
        raise ValueError("'stream' is true or false")
    if not isinstance(asked.get("model"), str):
        raise ValueError("you must provide a model parameter")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise ValueError("'messages' is a list of objects")
    check_tools(messages)
    questions = [text_of(message) for message in messages if message.get("role") == "user"]
    results = [*takewhile(lambda message: message.get("role") == "tool", reversed(messages))]
    if not (questions or results):
        raise ValueError("there is no user message")
    question = question_below(questions) if questions else ""
    texts = [text_of(one) for one in reversed(results)]
    return question_after(question, texts) if texts else question


def check_tools(messages: list[dict[str, Any]]) -> None:
    """Raise ValueError where OpenAI does: results follow their calls, and each call has one."""
    wanted: set[Any] = set()
    for message in messages:
        if message.get("role") == "tool":
            if message.get("tool_call_id") not in wanted:
                raise ValueError(
                    "messages with role 'tool' must be a response to a preceding message with"
                    " 'tool_calls'"
                )
            wanted.discard(message["tool_call_id"])
            continue
        if wanted:
            break
        calls = message.get("tool_calls") or []
        wanted = {call.get("id") for call in calls}
        if any(call.get("type") != "function" or "function" not in call for call in calls):
            raise ValueError("a tool call has a type and a function")
    if wanted:
        raise ValueError(
            "an assistant message with 'tool_calls' must be followed by tool messages responding"
            " to each 'tool_call_id'"
        )


def json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("the body of your request is not a JSON object")
    return value


def models() -> dict[str, Any]:
    made = {"object": "model", "created": 0, "owned_by": "outlive"}
    return {"object": "list", "data": [{"id": name, **made} for name in MODELS]}
