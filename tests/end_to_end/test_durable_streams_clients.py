"""The clients of Durable Streams from npm, on one deployment that cuts them and loses Postgres.

The deployment ends every response after 1.2 s and has nothing to say after 0.3 s, so a client that
follows an answer of some seconds comes back several times; in the middle Postgres is away for a
while, and who comes back then gets a 503. All clients run in one Node process at once
(`tests/clients/durable.mjs`), as their documentation shows. What they read must be exact.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from local.processes import ROOT
from local.programs import Worker
from scripted import cut, done, finish, hold, reasoning, say, script, tool_call
from tests.client import Client, new_id
from tests.foreign import need, need_node, npm_packages
from tests.rig import PATIENCE, Rig, eventually
from tests.tcp_proxy import TcpProxy

#: Whatever a careless reader would split or lose. A text stream has only LF (see its document).
PIECES = (
    "你好，世界。",
    "👩‍👧 and 😀",
    " words, \n\n",
    "\te\u0301\u2028\x85",
    '"data: \\n" ',
    " event:x\n",
)
TEXT = "".join(f"{number}{piece}" for number in range(40) for piece in PIECES)
#: Characters a second of an answer that is followed: it takes about four seconds.
RATE = len(TEXT) / 4
#: Of an answer in a chat.
SHORT = TEXT[:400]
VERSIONS = ("6", "7")

LIVE = ("sse", "long-poll")
WAYS = [(live, as_json) for live in LIVE for as_json in (True, False)]


def read_jobs(name: str, url: str, do: str = "read", **more: Any) -> list[dict[str, Any]]:
    return [
        {"name": f"{name} {live} {as_json}", "do": do, "url": url if as_json else f"{url}/text",
         "live": live, "json": as_json, **more}
        for live, as_json in WAYS
    ]  # fmt: skip


def chat_jobs(api: str) -> list[dict[str, Any]]:
    written = say(SHORT, rate=len(SHORT) / 4)
    called = [say("Look: "), tool_call("c1", "add", '{"a": 1, "b": 2}'), finish("tool_calls")]
    after = [say("It is 3."), finish(), done()]
    found: list[dict[str, Any]] = []
    for version in VERSIONS:
        jobs: dict[str, dict[str, Any]] = {
            "chat": {"question": script(reasoning("Hm."), written, finish(), done(), tag=new_id())},
            "come back": {
                "question": script(written, finish(), done(), tag=new_id()), "leave": 20
            },
            "tool": {
                "question": script(*called, done(), tag=new_id(), after=after),
                "tools": {"add": {"sum": 3}},
            },
            "failed": {"question": script(say("Half of"), cut(), tag=new_id())},
            "refused": {"do": "refused"},
        }  # fmt: skip
        found += [
            {"name": f"{name} {version}", "do": "chat", "api": api, "version": version, **more}
            for name, more in jobs.items()
        ]
    return found


@pytest.fixture(scope="module")
def place() -> Path:
    need_node(20)
    return npm_packages(ROOT / "tests" / "clients", "clients", "durable.mjs")


@contextmanager
def node(place: Path, jobs: list[dict[str, Any]]) -> Iterator[subprocess.Popen[str]]:
    """The process that does these jobs; it is given time to end."""
    words = [need("node"), "durable.mjs"]
    env = {**os.environ, "no_proxy": "*", "NODE_NO_WARNINGS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=place, stdin=pipe, stdout=pipe, text=True, env=env) as process:
        timer = threading.Timer(4 * PATIENCE, process.kill)
        timer.start()
        assert process.stdin is not None
        process.stdin.write(json.dumps(jobs))
        process.stdin.close()
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
            timer.cancel()


@pytest.fixture(scope="module")
def found(rig: Rig, worker_of_file: Worker, place: Path) -> dict[str, Any]:
    """What all of them found, by the name of the job."""
    with TcpProxy(rig.database_url) as postgres:
        web = rig.web(
            DATABASE_URL=postgres.url, WEB_CONCURRENCY="1",
            OUTLIVE_SSE_HEARTBEAT_SECONDS="0.3", OUTLIVE_STREAM_MAX_SECONDS="1.2",
        )  # fmt: skip
        with Client(web.url) as client:
            ended = client.ask(
                script(reasoning("Hm. "), say(TEXT, chunk=50), tool_call("a", "look", '{"a":1}'),
                       finish("tool_calls"), done(), tag=new_id())
            )  # fmt: skip
            failed = client.ask(script(say("Half of"), cut(), tag=new_id()))
            client.ended(ended)
            client.ended(failed)
            gate = f"durable {new_id()}"
            running = client.ask(
                script(say(TEXT[:10]), hold(gate), say(TEXT[10:], rate=RATE), finish(), done())
            )
            client.shown(running)
            streams = f"{web.url}/streams"
            jobs = [
                *read_jobs("running", f"{streams}/{running}"),
                *read_jobs("left", f"{streams}/{running}", do="leave", batches=3),
                *read_jobs("ended", f"{streams}/{ended}"),
                {"name": "catch-up", "do": "read", "url": f"{streams}/{ended}", "live": False,
                 "json": True},
                {"name": "failed", "do": "read", "url": f"{streams}/{failed}", "live": "sse",
                 "json": True},
                {"name": "unknown", "do": "fail", "url": f"{streams}/{new_id()}", "live": "sse"},
                *chat_jobs(f"{streams}/chat"),
            ]  # fmt: skip
            with node(place, jobs) as process:
                assert process.stdout is not None
                output = map(json.loads, process.stdout)
                lines = list(takewhile(lambda line: "begun" not in line, output))
                rig.scripted.release(gate)
                eventually(lambda: client.message(running)["position"] > len(TEXT) // 4)
                postgres.cut()
                time.sleep(1.5)  # longer than any response takes
                postgres.mend()
                lines += output
            assert process.returncode == 0
            assert client.message(running)["text"] == TEXT
    assert {line["name"] for line in lines} == {job["name"] for job in jobs}
    return {line["name"]: line.get("found", line.get("failed")) for line in lines}


@pytest.mark.parametrize(("live", "as_json"), WAYS)
@pytest.mark.parametrize("name", ["running", "left"])
def test_an_answer_is_followed_over_cuts_and_failures(
    found: dict[str, Any], name: str, live: str, as_json: bool
) -> None:
    read = found[f"{name} {live} {as_json}"]

    assert read["text"] == TEXT, read["requests"]
    assert read["closed"] is True, read["requests"]
    statuses = [request.split()[-1] for request in read["requests"]]
    assert "503" in statuses
    assert set(statuses) <= {"200", "204", "503"}
    assert len([one for one in read["requests"] if one.startswith(live)]) >= 3
    if as_json:
        assert read["types"][0] == "start"
        assert read["types"][-3:] == ["text-end", "finish-step", "finish"]
        others = [one for one in read["types"] if one != "text-delta"]
        assert len(others) == len(set(others))
    assert read.get("parts", 2) > 1


@pytest.mark.parametrize(("live", "as_json"), WAYS)
def test_a_closed_stream_ends_at_once(found: dict[str, Any], live: str, as_json: bool) -> None:
    read = found[f"ended {live} {as_json}"]

    assert read["text"] == (f"Hm. {TEXT}" if as_json else TEXT)
    assert read["closed"] is True
    assert read["requests"] == ["catch-up 200"]
    if as_json:
        assert read["types"][-3:] == ["tool-input-available", "finish-step", "finish"]


def test_a_catch_up_does_not_wait(found: dict[str, Any]) -> None:
    assert found["catch-up"]["closed"] is True
    assert found["catch-up"]["text"] == f"Hm. {TEXT}"


def test_a_failed_answer_closes_its_stream(found: dict[str, Any]) -> None:
    assert found["failed"]["types"][-1] == "error"
    assert found["failed"]["closed"] is True


def test_an_unknown_stream_is_an_error(found: dict[str, Any]) -> None:
    assert found["unknown"]["status"] == 404


# --- useChat, by @durable-streams/aisdk-transport -------------------------------------------------


def parts_of(message: dict[str, Any]) -> list[tuple[str, str]]:
    """Kinds and texts of what a message shows."""
    return [
        (part["type"], part.get("text", ""))
        for part in message["parts"]
        if part["type"] != "step-start"
    ]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_chat_asks_and_reads_its_answer_over_cuts(found: dict[str, Any], version: str) -> None:
    chat = found[f"chat {version}"]

    assert (chat["status"], chat["error"]) == ("ready", "")
    _, answer = chat["messages"]
    assert parts_of(answer) == [("reasoning", "Hm."), ("text", SHORT)]
    assert {part.get("state", "done") for part in answer["parts"]} == {"done"}
    asked, again = chat["made"]
    assert (asked["asked"], again["asked"]) == ("POST 201", "GET 200")
    assert answer["id"] == asked["message"] == again["message"]
    assert asked["location"] == again["location"] == f"/streams/{answer['id']}"
    assert answer["metadata"]["outlive"]["status"] == "DONE"
    assert chat["later"] == {"status": "ready", "error": "", "messages": chat["messages"]}


def test_a_chat_that_comes_back_goes_on_in_its_partial(found: dict[str, Any], version: str) -> None:
    chat = found[f"come back {version}"]

    assert (chat["status"], chat["error"]) == ("ready", "")
    assert 20 <= len(chat["partial"]) < len(SHORT)
    _, answer = chat["messages"]
    assert parts_of(answer) == [("text", SHORT)]
    assert [one["asked"] for one in chat["made"]] == ["POST 201", "GET 200", "GET 200"]
    assert {one["message"] for one in chat["made"]} == {answer["id"]}


def test_a_tool_of_the_page_goes_on_in_the_same_message(
    found: dict[str, Any], version: str
) -> None:
    chat = found[f"tool {version}"]

    assert (chat["status"], chat["error"]) == ("ready", "")
    _, answer = chat["messages"]
    assert parts_of(answer) == [("text", "Look: "), ("tool-add", ""), ("text", "It is 3.")]
    [called] = [part for part in answer["parts"] if part["type"] == "tool-add"]
    assert (called["state"], called["input"]) == ("output-available", {"a": 1, "b": 2})
    assert called["output"] == {"sum": 3}
    first, second, _ = chat["made"]
    assert [first["asked"], second["asked"]] == ["POST 201", "POST 201"]
    assert first["message"] == answer["id"] != second["message"]
    assert parts_of(chat["later"]["messages"][-1]) == parts_of(answer)
    assert len(chat["later"]["messages"]) == 2


def test_a_chat_shows_why_its_answer_failed(found: dict[str, Any], version: str) -> None:
    chat = found[f"failed {version}"]

    assert chat["status"] == "error"
    assert "connection" in chat["error"]
    assert parts_of(chat["messages"][-1]) == [("text", "Half of")]


def test_a_chat_shows_why_its_question_was_refused(found: dict[str, Any], version: str) -> None:
    chat = found[f"refused {version}"]

    assert chat["status"] == "error"
    assert "data-unknown" in chat["error"]
