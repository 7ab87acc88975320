"""Clients of Chat Completions from PyPI, as their documentation shows them, for `judging.py`.

Runs in an environment of its own (judges.txt), so it imports nothing of ours, and each package only
for the cases that need it, as some take seconds. Reads lines of JSON
from standard input: {id, client, base_url, key, question, tools}. Asks each in a thread of its own.
Writes lines of JSON: {id, text} for each piece that a client shows, and at last {id, end: {...}} or
{id, error: {...}}.
"""

# ruff: noqa: PLC0415 - see above
# mypy: disable-error-code="import-not-found"
import asyncio
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

# They would call home.
os.environ.update(
    {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "LANGSMITH_TRACING": "false",
    }
)

MODEL = "scripted"
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "The sum",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
_lock = threading.Lock()


class Case:
    """What one client is asked."""

    def __init__(self, sent: dict[str, Any]) -> None:
        self.id: str = sent["id"]
        self.client: str = sent["client"]
        self.question: str = sent["question"]
        self.tools: bool = sent.get("tools", False)
        self.url: str = sent["base_url"]
        self.key: str = sent.get("key", "anything")
        self.retries: int = sent.get("retries", 0)
        self.streams: bool = sent.get("stream", True)

    @property
    def messages(self) -> list[Any]:
        """A first question."""
        return [{"role": "user", "content": self.question}]

    @property
    def openai(self) -> dict[str, Any]:
        """How OpenAI's package is made."""
        return {"base_url": self.url, "api_key": self.key, "max_retries": self.retries}

    @property
    def asked(self) -> dict[str, Any]:
        """What OpenAI's package, and those like it, are asked."""
        tools = {"tools": [ADD]} if self.tools else {}
        return {"model": MODEL, **tools}

    def show(self, text: str | None) -> None:
        """A piece of the answer."""
        if text:
            _write({"id": self.id, "text": text})

    def end(self, text: str | None, **more: Any) -> None:
        """The whole answer."""
        _write({"id": self.id, "end": {"text": text or "", **more}})


def _write(value: Any) -> None:
    with _lock:
        print(json.dumps(value), flush=True)


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


def results(calls: Any) -> list[Any]:
    """What the calls of an answer return, as OpenAI's messages."""
    return [
        {
            "role": "tool",
            "tool_call_id": call.id,
            "content": str(add(**json.loads(call.function.arguments))),
        }
        for call in calls
    ]


# --- openai ---------------------------------------------------------------------------------------


def openai_raw(case: Case) -> None:
    from openai import OpenAI

    with OpenAI(**case.openai) as api:
        if not case.streams:
            whole = api.chat.completions.create(messages=case.messages, **case.asked)
            case.end(whole.choices[0].message.content)
            return
        history = case.messages
        while True:
            calls: dict[int, Any] = {}
            text, usage, reason = "", None, None
            for chunk in api.chat.completions.create(
                messages=history, stream=True, stream_options={"include_usage": True}, **case.asked
            ):
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    reason = choice.finish_reason or reason
                    text += choice.delta.content or ""
                    case.show(choice.delta.content)
                    _collect(calls, choice.delta.tool_calls)
            if not calls:
                break
            history = _gone_on(history, text, calls)
        case.end(text, finish=reason, tokens=usage and usage.total_tokens)


async def openai_raw_async(case: Case) -> None:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(**case.openai) as api:
        if not case.streams:
            whole = await api.chat.completions.create(messages=case.messages, **case.asked)
            case.end(whole.choices[0].message.content)
            return
        history = case.messages
        while True:
            calls: dict[int, Any] = {}
            text, usage, reason = "", None, None
            async for chunk in await api.chat.completions.create(
                messages=history, stream=True, stream_options={"include_usage": True}, **case.asked
            ):
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    reason = choice.finish_reason or reason
                    text += choice.delta.content or ""
                    case.show(choice.delta.content)
                    _collect(calls, choice.delta.tool_calls)
            if not calls:
                break
            history = _gone_on(history, text, calls)
        case.end(text, finish=reason, tokens=usage and usage.total_tokens)


def _collect(calls: dict[int, Any], pieces: Any) -> None:
    for piece in pieces or ():
        call = calls.setdefault(piece.index, {"id": piece.id, "name": "", "arguments": ""})
        call["name"] += piece.function.name or ""
        call["arguments"] += piece.function.arguments or ""


def _gone_on(history: list[Any], text: str, calls: dict[int, Any]) -> list[Any]:
    made = [
        {
            "id": call["id"],
            "type": "function",
            # as a client writes them that has parsed them
            "function": {
                "name": call["name"],
                "arguments": json.dumps(json.loads(call["arguments"])),
            },
        }
        for call in calls.values()
    ]
    returned = [
        {
            "role": "tool",
            "tool_call_id": call["id"],
            "content": str(add(**json.loads(call["arguments"]))),
        }
        for call in calls.values()
    ]
    said = {"role": "assistant", "content": text or None, "tool_calls": made}
    return [*history, said, *returned]


def openai_helper(case: Case) -> None:
    from openai import OpenAI

    with OpenAI(**case.openai) as api:
        history = case.messages
        while True:
            with api.chat.completions.stream(
                messages=history, stream_options={"include_usage": True}, **case.asked
            ) as stream:
                for event in stream:
                    if event.type == "content.delta":
                        case.show(event.delta)
                whole = stream.get_final_completion()
            [choice] = whole.choices
            if not choice.message.tool_calls:
                break
            history = [*history, choice.message, *results(choice.message.tool_calls)]
        used = whole.usage and whole.usage.total_tokens
        case.end(choice.message.content, finish=choice.finish_reason, tokens=used)


async def openai_helper_async(case: Case) -> None:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(**case.openai) as api:
        history = case.messages
        while True:
            async with api.chat.completions.stream(
                messages=history, stream_options={"include_usage": True}, **case.asked
            ) as stream:
                async for event in stream:
                    if event.type == "content.delta":
                        case.show(event.delta)
                whole = await stream.get_final_completion()
            [choice] = whole.choices
            if not choice.message.tool_calls:
                break
            history = [*history, choice.message, *results(choice.message.tool_calls)]
        used = whole.usage and whole.usage.total_tokens
        case.end(choice.message.content, finish=choice.finish_reason, tokens=used)


# --- what is built on it --------------------------------------------------------------------------


def langchain(case: Case) -> None:
    from langchain_core.messages import HumanMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    plus = tool(add)
    model: Any = ChatOpenAI(
        model=MODEL, base_url=case.url, api_key=case.key, max_retries=case.retries,
        stream_usage=True, use_responses_api=False,
    )  # fmt: skip
    if case.tools:
        model = model.bind_tools([plus])
    history: list[Any] = [HumanMessage(case.question)]
    while True:
        whole: Any = None
        for piece in model.stream(history):
            case.show(piece.text if isinstance(piece.text, str) else piece.text())
            whole = piece if whole is None else whole + piece
        if not whole.tool_calls:
            break
        history += [whole, *(plus.invoke(call) for call in whole.tool_calls)]
    used = (whole.usage_metadata or {}).get("total_tokens")
    case.end(str(whole.text), finish=whole.response_metadata.get("finish_reason"), tokens=used)


async def pydantic_ai(case: Case) -> None:
    from openai import AsyncOpenAI
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async with AsyncOpenAI(**case.openai) as api:
        model = OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=api))
        agent = Agent(model, tools=[add] if case.tools else [])
        async with agent.run_stream(case.question) as result:
            text = ""
            async for piece in result.stream_text(delta=True, debounce_by=None):
                text += piece
                case.show(piece)
        used = result.usage() if callable(result.usage) else result.usage
        case.end(text, tokens=used.total_tokens)


async def openai_agents(case: Case) -> None:
    from agents import (
        Agent,
        ModelSettings,
        OpenAIChatCompletionsModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    async with AsyncOpenAI(**case.openai) as api:
        agent = Agent(
            name="judge",
            model=OpenAIChatCompletionsModel(model=MODEL, openai_client=api),
            model_settings=ModelSettings(include_usage=True),
            tools=[function_tool(add)] if case.tools else [],
        )
        run = Runner.run_streamed(agent, case.question)
        async for event in run.stream_events():
            data = getattr(event, "data", None)
            if getattr(data, "type", "") == "response.output_text.delta":
                case.show(getattr(data, "delta", ""))
        used = run.context_wrapper.usage.total_tokens
        case.end(run.final_output, tokens=used)


def litellm(case: Case) -> None:
    import litellm as lib

    lib.telemetry = False
    lib.suppress_debug_info = True
    history = case.messages
    while True:
        chunks: list[Any] = []
        chunk: Any
        for chunk in lib.completion(
            model=f"openai/{MODEL}", api_base=case.url, api_key=case.key, messages=history,
            stream=True, stream_options={"include_usage": True}, max_retries=case.retries,
            tools=[ADD] if case.tools else None,
        ):  # fmt: skip
            chunks.append(chunk)
            case.show(chunk.choices[0].delta.content if chunk.choices else None)
        whole: Any = lib.stream_chunk_builder(chunks, messages=history)
        [choice] = whole.choices
        if not choice.message.tool_calls:
            break
        history = [*history, choice.message.model_dump(), *results(choice.message.tool_calls)]
    case.end(choice.message.content, finish=choice.finish_reason, tokens=whole.usage.total_tokens)


CLIENTS: dict[str, Callable[[Case], Any]] = {
    "openai": openai_raw,
    "openai, async": openai_raw_async,
    "openai, helper": openai_helper,
    "openai, async helper": openai_helper_async,
    "langchain": langchain,
    "pydantic-ai": pydantic_ai,
    "openai-agents": openai_agents,
    "litellm": litellm,
}


def run(case: Case) -> None:
    """One case, whatever comes of it."""
    try:
        client = CLIENTS[case.client]
        if asyncio.iscoroutinefunction(client):
            asyncio.run(client(case))
        else:
            client(case)
    except Exception as error:  # noqa: BLE001 - it is the result
        kind, code = type(error).__name__, getattr(error, "code", None)
        status = getattr(error, "status_code", None)
        _write(
            {
                "id": case.id,
                "error": {"kind": kind, "code": code, "status": status, "says": str(error)[:2000],
                          "where": traceback.format_exc()[-2000:]},
            }
        )  # fmt: skip


def main() -> None:
    """All cases, at once."""
    for line in sys.stdin:
        threading.Thread(target=run, args=[Case(json.loads(line))], daemon=False).start()


if __name__ == "__main__":
    main()
