"""AG-UI's HttpAgent (1.0.0 and 0.0.59) and TanStack's ChatClient, unmodified, on real processes.

All cases run in one process of Node. Each is cut where its name says; the text must be exact, and
the provider asked once for each answer.
"""

import json
import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from local.processes import ROOT
from local.programs import Web, Worker
from scripted import (
    Scripted,
    done,
    error_object,
    finish,
    hold,
    reasoning,
    say,
    script,
    tool_call,
    usage,
    wrong_key,
)
from tests.client import Client, new_id
from tests.cutting import CutPoint, CuttingProxy
from tests.foreign import need, need_node, npm_packages
from tests.rig import PATIENCE, Rig, killing
from tests.stories import NEVER, start_worker, sweep

AGENTS: Final = ("1.0.0", "0.0.59")
ADAPTERS: Final = ("sse", "lines")
#: Everything that is more than a byte, and whatever a careless reader would split.
PIECES: Final = (
    "Hello ",
    "你好",
    "👩‍👧 and 😀",
    "\n\n",
    "e\u0301\u2028\x85",
    'data: "\\n"',
    "the end.",
)


#: Events of `thought_and_text` before its rest, after each of which HttpAgent is cut.
CUTS: Final = tuple(range(1, 9))
ARGUMENTS: Final = '{"a": 1, "b": 2}'
WHOLE: Final = "Hello " + "".join(PIECES)


#: Clients whose first connection a proxy cuts within an event, as a network does.
TORN: Final[dict[str, dict[str, str]]] = {
    **{f"{agent} torn": {"kind": "join", "client": agent} for agent in AGENTS},
    "sse torn": {"kind": "send", "adapter": "sse"},
}


@dataclass
class Case:
    """A client, what it does, and what happens when it says that it has come to a place."""

    words: dict[str, Any]
    at: dict[str, Callable[[], object]] = field(default_factory=dict)
    #: what Node says of it
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def question(self) -> str:
        return str(self.words["question"])


class Cases:
    """All cases, by name, and what they found."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.by_name: dict[str, Case] = {}
        self.warnings: list[str] = []

    def add(self, name: str, kind: str, question: str, **more: Any) -> Case:
        at = more.pop("at", {})
        words = {"name": name, "kind": kind, "question": question, "url": f"{self.url}/ag-ui"}
        case = self.by_name[name] = Case({"thread": new_id(), **words, **more}, at)
        return case

    def run(self, place: Path) -> None:
        node = need("node")
        with subprocess.Popen(
            [node, "--no-warnings", "ag_ui.mjs"], cwd=place, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "no_proxy": "*"},
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([case.words for case in self.by_name.values()]))
            process.stdin.close()
            for line in process.stdout:
                said = json.loads(line)
                if said["name"] is None:
                    self.warnings = said["result"]
                elif "at" in said:
                    threading.Thread(
                        target=self.by_name[said["name"]].at[said["at"]], daemon=True
                    ).start()
                else:
                    self.by_name[said["name"]].result = said["result"]
        assert process.returncode == 0


def text(*rest: Any, tag: str = "") -> str:
    return script(*map(say, PIECES), *rest, finish(), usage(), done(), tag=tag or new_id())


def calling() -> str:
    """A script that calls a tool, and says a text when its result comes."""
    return script(
        say("Let me see."), tool_call("c1", "add", ARGUMENTS), finish("tool_calls"), done(),
        after=[*map(say, PIECES), finish(), usage(), done()], tag=new_id(),
    )  # fmt: skip


def thought_and_text(*rest: Any) -> str:
    """A script of which eight events come before `rest`."""
    return script(reasoning("Hm. "), say("Hello "), *rest, finish(), usage(), done(), tag=new_id())


@pytest.fixture(scope="module")
def found(rig: Rig, web: Web, worker_of_file: Worker) -> Cases:
    """All cases at once: most of their time they wait."""
    need_node(20)
    place = npm_packages(ROOT / "tests" / "clients", "clients", "ag_ui.mjs")
    cases = Cases(web.url)
    for agent in AGENTS:
        _agent_cases(cases, rig.scripted, agent)
    for adapter in ADAPTERS:
        _tanstack_cases(cases, rig.scripted, adapter)
    with ExitStack() as stack:
        for name, words in TORN.items():
            proxy = stack.enter_context(CuttingProxy(web.url, [CutPoint(b'"Hello ', 1, 3)]))
            gate = new_id()
            question = thought_and_text(hold(gate), *map(say, PIECES))
            go_on = partial(rig.scripted.release, gate)
            url = f"{proxy.url}/ag-ui"
            cases.add(name, question=question, url=url, at={"joined": go_on}, **words)
            if words["kind"] == "send":
                go_on()
        cases.run(place)
    return cases


def _agent_cases(cases: Cases, scripted: Scripted, agent: str) -> None:
    def add(name: str, kind: str, question: str, **more: Any) -> None:
        cases.add(f"{agent} {name}", kind, question, client=agent, **more)

    add("run", "run", thought_and_text(*map(say, PIECES)))
    add("error", "run", script(say("Part"), error_object(), tag=new_id()))
    add("refused", "run", script(wrong_key(), tag=new_id()))
    add("tools", "tools", calling(), next=text())
    add("stop", "stop", script(say("Some "), hold(new_id()), say("more"), done(), tag=new_id()))
    for cut in CUTS:
        gate = new_id()
        question = thought_and_text(hold(gate), *map(say, PIECES))
        go_on = partial(scripted.release, gate)
        add(f"join {cut}", "join", question, cut=cut, at={"joined": go_on})
    gate = new_id()
    question = thought_and_text(hold(gate), *map(say, PIECES))
    late = {"cut": partial(scripted.release, gate), "joined": lambda: None}
    add("join late", "join", question, cut=CUTS[-1], late=True, at=late)
    gate = new_id()
    question = script(
        say("Let me see."), tool_call("c1", "add", ARGUMENTS[:4]), hold(gate),
        tool_call("c1", "add", ARGUMENTS[4:]), finish("tool_calls"), done(), tag=new_id(),
    )  # fmt: skip
    add("join call", "join", question, cut=6, at={"joined": partial(scripted.release, gate)})


def _tanstack_cases(cases: Cases, scripted: Scripted, adapter: str) -> None:
    def add(name: str, kind: str, question: str, **more: Any) -> None:
        cases.add(f"{adapter} {name}", kind, question, adapter=adapter, **more)

    add("send", "send", thought_and_text(*map(say, PIECES)))
    add("cut", "send", thought_and_text(*map(say, PIECES)), cut=1)
    add("error", "send", script(say("Part"), error_object(), tag=new_id()))
    add("tools", "send", calling(), tools=True, cut=1)
    add("stop", "stop", script(say("Some "), hold(new_id()), say("more"), done(), tag=new_id()))
    gate = new_id()
    question = thought_and_text(hold(gate), *map(say, PIECES))
    go_on = {"reloaded": partial(scripted.release, gate)}
    add("reload", "reload", question, last=PIECES[-1], cut=2, at=go_on)


# --- HttpAgent ------------------------------------------------------------------------------------


def said(case: Case) -> list[dict[str, Any]]:
    """The messages that HttpAgent has in the end, but the first question."""
    assert "failure" not in case.result, case.result
    first, *rest = case.result["messages"]
    assert first == {"role": "user", "content": case.question}
    return list(rest)


def thought_and_answer(text: str = WHOLE) -> list[dict[str, Any]]:
    return [{"role": "reasoning", "content": "Hm. "}, {"role": "assistant", "content": text}]


def calls_of_provider(rig: Rig, case: Case) -> int:
    return len(rig.scripted.requests(contains=case.question))


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_reads_thoughts_and_text(found: Cases, agent: str) -> None:
    case = found.by_name[f"{agent} run"]

    assert said(case) == thought_and_answer()
    [told] = case.result["results"]
    assert (told["failure"], told["errors"]) == (None, [])
    assert told["outcome"] == {"outcome": "success"}


def test_no_client_warns(found: Cases) -> None:
    assert found.warnings == []


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    ("name", "code", "partial"),
    [("error", "provider_error", "Part"), ("refused", "provider_rejected", None)],
)
def test_an_agent_is_given_an_error(
    found: Cases, agent: str, name: str, code: str, partial: str | None
) -> None:
    case = found.by_name[f"{agent} {name}"]

    [told] = case.result["results"]
    [error] = told["errors"]
    assert (error["code"], told["outcome"]) == (code, None)
    assert said(case) == ([{"role": "assistant", "content": partial}] if partial else [])


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_runs_tools_in_one_conversation(
    rig: Rig, client: Client, found: Cases, agent: str
) -> None:
    case = found.by_name[f"{agent} tools"]

    called, result, answer, following, last = said(case)
    assert called["calls"] == [["c1", "add", ARGUMENTS]]
    assert (result["role"], answer["content"]) == ("tool", "".join(PIECES))
    assert (following["content"], last["content"]) == (case.words["next"], "".join(PIECES))
    *_, record = rig.scripted.requests(contains=str(case.words["next"]))
    assert record.request is not None
    sent = record.request["messages"]
    assert [one["role"] for one in sent] == ["user", "assistant", "tool", "assistant", "user"]
    assert [one["function"]["name"] for one in record.request["tools"]] == ["add"]
    assert calls_of_provider(rig, case) == 3
    # Found by what was said: each turn is there once.
    hits = client.http.get("/api/conversations").json()["items"]
    shown = [
        branch
        for hit in hits
        if (branch := client.http.get(f"/api/conversations/{hit['id']}").json()["messages"])
        and branch[0]["text"] == case.question
    ]
    assert [[one["role"] for one in branch] for branch in shown] == [["user", "assistant"] * 3]


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_is_told_that_a_run_was_stopped(found: Cases, agent: str) -> None:
    case = found.by_name[f"{agent} stop"]

    told, status = case.result["results"]
    assert (status, said(case)) == (202, [{"role": "assistant", "content": "Some "}])
    older = {"outcome": "success", "result": {"status": "cancelled"}}
    assert told["outcome"] == ({"outcome": "cancelled"} if agent == "1.0.0" else older)


@pytest.mark.parametrize("name", TORN)
def test_a_client_sees_that_its_connection_was_torn(rig: Rig, found: Cases, name: str) -> None:
    case = found.by_name[name]

    if name == "sse torn":
        state = shown(case)
        assert (state["messages"][1:], state["posts"], state["errors"]) == ([ANSWER], 2, [])
    else:
        first, _, second = case.result["results"]
        assert (first["outcome"], second["failure"]) == (None, None)
        assert first["failure"] is not None
        assert said(case) == thought_and_answer()
    assert calls_of_provider(rig, case) == 1


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("cut", [*CUTS, "late"])
def test_an_agent_that_was_cut_joins_its_run(
    rig: Rig, found: Cases, agent: str, cut: int | str
) -> None:
    case = found.by_name[f"{agent} join {cut}"]

    assert said(case) == thought_and_answer()
    first, _, second = case.result["results"]
    assert first["failure"] == "TypeError: network error"
    assert second["failure"] is None
    assert calls_of_provider(rig, case) == 1


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_that_was_cut_in_a_call_joins_its_run(rig: Rig, found: Cases, agent: str) -> None:
    case = found.by_name[f"{agent} join call"]

    call = ["c1", "add", ARGUMENTS]
    assert said(case) == [{"role": "assistant", "content": "Let me see.", "calls": [call]}]
    assert calls_of_provider(rig, case) == 1


# --- TanStack -------------------------------------------------------------------------------------


def text_part(text: str) -> dict[str, str]:
    return {"type": "text", "content": text}


def shown(case: Case, number: int = -1) -> dict[str, Any]:
    """What a client of TanStack has in the end."""
    assert "failure" not in case.result, case.result
    state: dict[str, Any] = case.result["results"][number]
    assert state["messages"][0] == {"role": "user", "parts": [text_part(case.question)]}
    return state


ANSWER: Final = {
    "role": "assistant",
    "parts": [{"type": "thinking", "content": "Hm. "}, text_part(WHOLE)],
}


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("name", ["send", "cut"])
def test_tanstack_that_is_cut_at_every_event_reads_all_of_one_run(
    rig: Rig, found: Cases, adapter: str, name: str
) -> None:
    case = found.by_name[f"{adapter} {name}"]

    state = shown(case)
    assert (state["messages"][1:], state["status"], state["errors"]) == ([ANSWER], "ready", [])
    # One for each event, and one after the last.
    assert state["posts"] == 1 if name == "send" else state["posts"] >= 10
    assert calls_of_provider(rig, case) == 1


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_tanstack_opens_a_conversation_and_joins_its_run(
    rig: Rig, found: Cases, adapter: str
) -> None:
    case = found.by_name[f"{adapter} reload"]

    state = shown(case)
    assert (state["messages"][1:], state["status"], state["errors"]) == ([ANSWER], "ready", [])
    assert (state["posts"], state["gets"] > 2) == (0, True)
    assert calls_of_provider(rig, case) == 1


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_tanstack_runs_its_tools(rig: Rig, found: Cases, adapter: str) -> None:
    case = found.by_name[f"{adapter} tools"]

    state = shown(case)
    called, answer = state["messages"][1:]
    [call] = [one for one in called["parts"] if one["type"] == "tool-call"]
    assert (call["name"], call["called"], call["output"]) == ("add", ARGUMENTS, "3")
    assert [one for one in answer["parts"] if one["type"] == "text"] == [text_part("".join(PIECES))]
    assert (state["status"], state["errors"]) == ("ready", [])
    assert calls_of_provider(rig, case) == 2


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_tanstack_is_given_an_error(found: Cases, adapter: str) -> None:
    state = shown(found.by_name[f"{adapter} error"])

    assert state["messages"][1:] == [{"role": "assistant", "parts": [text_part("Part")]}]
    assert (state["status"], len(state["errors"])) == ("error", 1)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_tanstack_shows_what_was_stopped(found: Cases, adapter: str) -> None:
    case = found.by_name[f"{adapter} stop"]

    state = shown(case, 0)
    assert case.result["results"][1] == 202
    assert state["messages"][1:] == [{"role": "assistant", "parts": [text_part("Some ")]}]
    assert (state["status"], state["errors"]) == ("ready", [])


# --- a worker is killed ---------------------------------------------------------------------------


def test_a_worker_that_is_killed_costs_no_text_and_no_client_its_end(
    rig: Rig, web: Web, no_workers: None
) -> None:
    cases, place = Cases(web.url), npm_packages(ROOT / "tests/clients", "clients", "ag_ui.mjs")
    thinking, begun = f"thinking {new_id()}", threading.Semaphore(0)
    unshown = script(hold(thinking), say("Here it is."), finish(), done(), tag=new_id())
    shown_once = [script(say("So far"), hold(NEVER), tag=new_id()) for _ in range(2)]
    for adapter in ADAPTERS:
        at = {"begun": begun.release}
        cases.add(f"{adapter} unshown", "broken", unshown, adapter=adapter, at=at)
        cases.add(f"{adapter} shown", "broken", shown_once[0], adapter=adapter, shown=True, at=at)
    cases.add("agent", "run", shown_once[1], client="1.0.0")
    first = start_worker(rig).wait()
    with killing(first), ThreadPoolExecutor(1) as pool:
        running = pool.submit(cases.run, place)
        for _ in range(len(cases.by_name) - 1):
            assert begun.acquire(timeout=PATIENCE)
        rig.scripted.wait_held(thinking, 2)
        rig.scripted.wait_held(NEVER, 3)
        second = start_worker(rig).wait()
        with killing(second):
            first.kill()
            sweep(rig, died=first.boot)
            rig.scripted.wait_requests(4, contains=unshown)
            rig.scripted.release(thinking)
            running.result()

    for adapter in ADAPTERS:
        live, again = cases.by_name[f"{adapter} unshown"].result["results"]
        whole = [{"role": "assistant", "parts": [text_part("Here it is.")]}]
        assert live["messages"][1:] == again["messages"][1:] == whole
        assert (live["status"], live["errors"], live["posts"]) == ("ready", [], 1)
        live, again = cases.by_name[f"{adapter} shown"].result["results"]
        partial = [{"role": "assistant", "parts": [text_part("So far")]}]
        assert live["messages"][1:] == again["messages"][1:] == partial
        assert (live["status"], len(live["errors"]), again["errors"]) == ("error", 1, [])
    agent = cases.by_name["agent"]
    [told] = agent.result["results"]
    assert [error["code"] for error in told["errors"]] == ["worker_lost"]
    assert said(agent) == [{"role": "assistant", "content": "So far"}]
    assert cases.warnings == []
