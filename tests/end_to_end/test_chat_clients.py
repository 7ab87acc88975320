"""Clients of Chat Completions that others wrote, unmodified but for the base URL.

All of them are asked at once, in one process of Python and one of Node, so that each case costs
little more than one request. What they show must be exact, however the answer ends.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

import pytest

from local.processes import ROOT
from local.programs import Web, Worker
from scripted import done, error_object, finish, hold, say, script, tool_call, usage, wrong_key
from tests.client import Client, new_id
from tests.clients.judging import Heard, Judges, judging
from tests.foreign import need_node, npm_packages, python_packages
from tests.rig import Rig
from tests.stories import NEVER, sweep

HERE: Final = ROOT / "tests" / "clients"
OPENAI: Final = ("openai", "openai, async", "openai, helper", "openai, async helper")
PYTHON: Final = (*OPENAI, "langchain", "pydantic-ai", "openai-agents", "litellm")
NODE: Final = ("openai, Node", "openai, Node helper")
CLIENTS: Final = (*PYTHON, *NODE)
TEXT: Final = "Hello 😀\n\u2028there, 世界"

Everyone = dict[str, Judges]


@pytest.fixture(scope="module")
def everyone() -> Iterator[Everyone]:
    """The process that each client runs in."""
    node = need_node(20)
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        npm = pool.submit(npm_packages, HERE, "clients", "judges.mjs")
        python = python_packages(HERE / "judges.txt", "judges")
        place = npm.result()
        by_python = stack.enter_context(judging([python, HERE / "judges.py"], place))
        by_node = stack.enter_context(judging([node, "judges.mjs"], place))
        yield dict.fromkeys(PYTHON, by_python) | dict.fromkeys(NODE, by_node)


def ask_all(everyone: Everyone, web: Web, question: str, **more: object) -> list[Heard]:
    """Each client asks the question, with a word of its own behind it."""
    return [judges.ask(name, web.url, question, **more) for name, judges in everyone.items()]


def test_each_client_streams_the_exact_text_and_its_usage(
    web: Web, worker: Worker, everyone: Everyone
) -> None:
    steps = [*map(say, (TEXT[:7], TEXT[7:12], TEXT[12:])), finish(), usage(), done()]

    asked = ask_all(everyone, web, script(*steps, tag=new_id()))

    for heard in asked:
        heard.wait()
        assert heard.error is None, (heard.client, heard.error)
        assert heard.end is not None
        assert (heard.text, heard.end["text"]) == (TEXT, TEXT), heard.client
        assert heard.end["tokens"] == 33, heard.client
        assert heard.end.get("finish", "stop") == "stop", heard.client


def test_each_client_goes_through_a_tool_loop_in_one_conversation(
    rig: Rig, web: Web, worker: Worker, everyone: Everyone
) -> None:
    names = {name: new_id() for name in everyone}
    asked = [
        judges.ask(
            name,
            web.url,
            script(
                tool_call("c1", "add", '{"a": 1, "b": 2}'), finish("tool_calls"), usage(), done(),
                after=[say("It is 3."), finish(), usage(), done()], tag=names[name],
            ),
            tools=True,
        )
        for name, judges in everyone.items()
    ]  # fmt: skip

    for heard in asked:
        heard.wait()
        assert heard.error is None, (heard.client, heard.error)
        assert heard.end is not None
        assert heard.end["text"] == "It is 3.", heard.client
        [_, second] = rig.scripted.requests(contains=names[heard.client])
        assert second.request is not None
        [*_, result] = second.request["messages"]
        assert (result["role"], result["content"]) == ("tool", "3"), heard.client
        found = rig.rows(
            "SELECT count(*) AS rows, count(DISTINCT conversation_id) AS places FROM messages"
            " WHERE conversation_id = (SELECT conversation_id FROM messages"
            " WHERE body::text LIKE :name LIMIT 1)",
            name=f"%{names[heard.client]}%",
        )
        assert (found[0].rows, found[0].places) == (4, 1), heard.client


def test_each_client_takes_a_stop_for_an_end(
    web: Web, client: Client, worker: Worker, everyone: Everyone
) -> None:
    asked = ask_all(everyone, web, script(say("So far"), hold(NEVER), tag=new_id()))
    for heard in asked:
        heard.wait("So far")

    stop_all(client)

    for heard in asked:
        heard.wait()
        assert heard.error is None, (heard.client, heard.error)
        assert heard.end is not None
        assert (heard.text, heard.end["text"]) == ("So far", "So far"), heard.client


def stop_all(client: Client) -> None:
    """Stop whatever is being written."""
    items = client.http.get("/api/conversations", params={"limit": 100}).json()["items"]
    for item in items:
        shown = client.http.get(f"/api/conversations/{item['id']}").json()["messages"]
        if shown and shown[-1]["status"] in ("SENDING", "STREAMING"):
            client.stop(shown[-1]["id"])


@pytest.mark.parametrize("before", ["", "So far"])
def test_each_client_raises_what_failed(
    web: Web, worker: Worker, everyone: Everyone, before: str
) -> None:
    failing = [say(before), error_object()] if before else [wrong_key()]

    asked = ask_all(everyone, web, script(*failing, tag=new_id()))

    for heard in asked:
        heard.wait()
        assert heard.error is not None, (heard.client, heard.end)
        assert heard.text == before, heard.client
        if heard.client in (*OPENAI, *NODE):
            code = "provider_error" if before else "invalid_api_key"
            assert heard.error["code"] == code, heard
            assert heard.error["status"] == (None if before else 401), heard


def test_each_client_raises_when_the_worker_dies(
    rig: Rig, web: Web, worker: Worker, everyone: Everyone
) -> None:
    asked = ask_all(everyone, web, script(say("So far"), hold(NEVER), tag=new_id()))
    for heard in asked:
        heard.wait("So far")

    worker.kill()
    sweep(rig, died=worker.boot)

    for heard in asked:
        heard.wait()
        assert heard.error is not None, (heard.client, heard.end)
        assert heard.text == "So far", heard.client
        if heard.client in (*OPENAI, *NODE):
            assert heard.error["code"] == "worker_lost", heard
