"""Clients of Responses from PyPI, as their documentation shows them: `python responses.py`.

Runs in an environment of its own (judges.txt), so it imports nothing of ours. Reads a JSON list of
cases {name, client, url, question, ...} from standard input, and writes a line of JSON {name,
result} or {name, error} for each.
"""

# ruff: noqa: PLC0415 - each package takes seconds to import
import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

# They would call home.
os.environ.update({"OPENAI_AGENTS_DISABLE_TRACING": "1", "LANGSMITH_TRACING": "false"})

MODEL = "scripted"
Case = dict[str, Any]


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


def _openai(case: Case) -> dict[str, Any]:
    return {"base_url": f"{case['url']}/v1", "api_key": "anything", "max_retries": 0}


def openai_every(case: Case) -> Any:
    """From every `every`th number the rest; those whose rest is another."""
    from openai import OpenAI

    with OpenAI(**_openai(case)) as api:
        asked: Any = {"model": MODEL, "input": case["question"], "background": True, "stream": True}
        whole = [event.to_dict() for event in api.responses.create(**asked)]
        response_id = whole[0]["response"]["id"]
        wrong = []
        last = whole[-1]["sequence_number"]
        for number in range(0, last + 1, case["every"]):
            stream: Any = api.responses.retrieve(response_id, stream=True, starting_after=number)
            rest = [event.to_dict() for event in stream]
            expected = [event for event in whole if event["sequence_number"] > number]
            if _whole_texts(rest) != _whole_texts(expected) or _other(rest) != _other(expected):
                wrong.append(number)
        with api.responses.stream(response_id=response_id, starting_after=last - 1) as helped:
            numbers = [event.sequence_number for event in helped]
            text = helped.get_final_response().output_text
    return {"wrong": wrong, "last": last, "text": text, "helper": numbers == [last]}


def _other(events: list[Any]) -> list[Any]:
    return [event for event in events if not event["type"].endswith(".delta")]


def _whole_texts(events: list[Any]) -> dict[str, str]:
    """The texts that begin and end after the number: others may be cut inside a delta."""
    begun = {one["item"]["id"] for one in events if one["type"] == "response.output_item.added"}
    found: dict[str, str] = {}
    for event in events:
        if event["type"].endswith(".delta") and event["item_id"] in begun:
            found[event["item_id"]] = found.get(event["item_id"], "") + event["delta"]
    return found


async def openai_async(case: Case) -> Any:
    """The helper that is not synchronous, from the beginning and by id."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(**_openai(case)) as api:
        async with api.responses.stream(model=MODEL, input=case["question"]) as stream:
            first = await stream.get_final_response()
        async with api.responses.stream(response_id=first.id, starting_after=5) as stream:
            again = await stream.get_final_response()
        polled = await api.responses.retrieve(first.id)
    return {"text": first.output_text, "same": first.output == again.output,
            "polled": polled.output_text}  # fmt: skip


async def openai_agents(case: Case) -> Any:
    """An agent with a tool, streamed; its model repeats the whole input."""
    from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    async with AsyncOpenAI(**_openai(case)) as api:
        agent = Agent(
            name="judge",
            instructions="Be kind.",
            model=OpenAIResponsesModel(model=MODEL, openai_client=api),
            tools=[function_tool(add)] if case["tools"] else [],
        )
        run = Runner.run_streamed(agent, case["question"])
        text = ""
        async for event in run.stream_events():
            data: Any = getattr(event, "data", None)
            if getattr(data, "type", "") == "response.output_text.delta":
                text += data.delta
    return {"text": text, "final": run.final_output}


def langchain(case: Case) -> Any:
    """A chat model with a tool, streamed."""
    from langchain_core.messages import HumanMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    plus = tool(add)
    model: Any = ChatOpenAI(
        model=MODEL, base_url=f"{case['url']}/v1", api_key="x", max_retries=0,
        use_responses_api=True,
    )  # fmt: skip
    if case["tools"]:
        model = model.bind_tools([plus])
    history: list[Any] = [HumanMessage(case["question"])]
    text = ""
    while True:
        whole: Any = None
        for piece in model.stream(history):
            text += str(piece.text)
            whole = piece if whole is None else whole + piece
        if not whole.tool_calls:
            return {"text": text, "final": str(whole.text)}
        history += [whole, *(plus.invoke(call) for call in whole.tool_calls)]


CLIENTS: dict[str, Callable[[Case], Any]] = {
    "openai": openai_every,
    "openai, async": openai_async,
    "openai-agents": openai_agents,
    "langchain": langchain,
}


def run(case: Case) -> Case:
    """One case, whatever comes of it."""
    try:
        client = CLIENTS[case["client"]]
        result = client(case)
        if asyncio.iscoroutine(result):
            result = asyncio.run(result)
    except Exception:  # noqa: BLE001 - it is the result
        return {"name": case["name"], "error": traceback.format_exc()}
    return {"name": case["name"], "result": result}


for one in json.load(sys.stdin):
    print(json.dumps(run(one)), flush=True)
