"""Clients of Responses that others wrote, unmodified: resumed, cut, cancelled, failed, with tools.

All cases run in one process of Node, and one of Python. `RESPONSES_EVERY=1` resumes from every
number, and cuts after every event; otherwise from every seventh.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from local.processes import ROOT
from local.programs import Web, Worker
from scripted import (
    done,
    error_object,
    finish,
    hold,
    reasoning,
    say,
    script,
    tool_call,
    usage,
)
from tests.client import new_id
from tests.foreign import need, need_node, npm_packages, python_packages
from tests.rig import PATIENCE, Rig
from tests.stories import NEVER

HERE: Final = ROOT / "tests" / "clients"
EVERY: Final = int(os.environ.get("RESPONSES_EVERY", "7"))
TEXT: Final = "Hello 😀 你好\r\n\u2028e\u0301 there."
#: Events of `_text`, at least: its deltas may come together.
EVENTS: Final = 15
#: What is built on the package for Python.
BUILT_ON_IT: Final = ("openai-agents", "langchain")


def _everything() -> str:
    return script(
        reasoning("Hm. 😀 "), say(TEXT, chunk=3), tool_call("c1", "look", '{"a": 1}'),
        finish("tool_calls"), usage(), done(), tag=new_id(),
    )  # fmt: skip


def _text() -> str:
    return script(reasoning("Hm. "), say(TEXT, chunk=3), finish(), done(), tag=new_id())


def _sum() -> str:
    return script(
        tool_call("c1", "add", '{"a": 1, "b": 2}'), finish("tool_calls"), usage(), done(),
        after=[say("It is 3."), finish(), usage(), done()], tag=new_id(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(rig: Rig, web: Web, worker_of_file: Worker) -> dict[str, Any]:
    """What every case came to."""
    need_node(20)
    place = npm_packages(HERE, "clients", "responses.mjs")
    seen = script(say("Seen."), finish(), done(), tag=new_id())
    called = script(tool_call("c1", "look", "{}"), finish("tool_calls"), done(), tag=new_id())
    cases: list[dict[str, Any]] = [
        {"case": "everything", "question": _everything(), "every": EVERY},
        {"case": "helper", "question": _everything()},
        {"case": "tools", "question": called, "result": seen},
        {"name": "cancelled", "case": "end", "cancels": True,
         "question": script(say("So far"), hold(NEVER), tag=new_id())},
        {"name": "failed", "case": "end",
         "question": script(say("So far"), error_object(), tag=new_id())},
        {"name": "incomplete", "case": "end",
         "question": script(say("So far"), finish("length"), done(), tag=new_id())},
        *({"name": f"cut {most}", "case": "cut", "most": most, "question": _text()}
          for most in range(0, EVENTS, EVERY)),
    ]  # fmt: skip
    return _run([need("node"), "responses.mjs"], place, web, cases)


@pytest.fixture(scope="module")
def by_python(rig: Rig, web: Web, worker_of_file: Worker) -> dict[str, Any]:
    """The same of clients from PyPI."""
    python = python_packages(HERE / "judges.txt", "judges")
    cases: list[dict[str, Any]] = [
        {"name": "every number", "client": "openai", "question": _everything(), "every": EVERY},
        {"name": "async", "client": "openai, async", "question": _text()},
        *({"name": client, "client": client, "question": _text(), "tools": False}
          for client in BUILT_ON_IT),
        *({"name": f"{client}, tools", "client": client, "question": _sum(), "tools": True}
          for client in BUILT_ON_IT),
    ]  # fmt: skip
    return _run([str(python), str(HERE / "responses.py")], ROOT, web, cases)


def _run(words: list[str], place: Path, web: Web, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Run the cases in a process of clients; its lines by the names of the cases."""
    sent = [{"name": case.get("case"), "url": web.url, **case} for case in cases]
    env = {name: value for name, value in os.environ.items() if "PYTHON" not in name}
    ran = subprocess.run(
        words, cwd=place, capture_output=True, text=True, check=False, input=json.dumps(sent),
        timeout=4 * PATIENCE, env={**env, "no_proxy": "*"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.removesuffix("\n").split("\n")]
    assert len(lines) == len(cases), ran.stderr
    return {line["name"]: line for line in lines}


def result(found: dict[str, Any], name: str) -> Any:
    line = found[name]
    assert "error" not in line, line["error"]
    return line["result"]


def test_node_goes_on_after_every_number_with_exactly_the_rest(found: dict[str, Any]) -> None:
    everything = result(found, "everything")

    assert everything.pop("first") > 3
    assert everything == {
        "wrong": [],
        "last": len("Hm. 😀 " + TEXT + '{"a": 1}') + 3 * 8,
        "texts": {
            "response.reasoning_text.delta": "Hm. 😀 ",
            "response.output_text.delta": TEXT,
            "response.function_call_arguments.delta": '{"a": 1}',
        },
        "final": TEXT,
        "types": ["reasoning", "message", "function_call"],
        "items": 1,
        "cancelled": "completed",
        "gone": 404,
    }


def test_nodes_helper_puts_a_stream_together(found: dict[str, Any]) -> None:
    assert result(found, "helper") == {"text": TEXT, "status": "completed"}


def test_node_runs_a_tool_loop_by_reference(found: dict[str, Any]) -> None:
    assert result(found, "tools") == {"arguments": "{}", "text": "Seen."}


@pytest.mark.parametrize("most", range(0, EVENTS, EVERY))
def test_node_is_told_of_a_cut_and_goes_on(found: dict[str, Any], most: int) -> None:
    cut = result(found, f"cut {most}")

    assert cut["error"]
    assert cut["end"] == "response.completed"
    assert cut["texts"] == {
        "response.reasoning_text.delta": "Hm. ",
        "response.output_text.delta": TEXT,
    }


@pytest.mark.parametrize(
    ("name", "event", "status"),
    [
        ("cancelled", "response.incomplete", "cancelled"),
        ("failed", "response.failed", "failed"),
        ("incomplete", "response.incomplete", "incomplete"),
    ],
)
def test_node_shows_how_an_answer_ended(
    found: dict[str, Any], name: str, event: str, status: str
) -> None:
    assert result(found, name) == {
        "type": event,
        "helper": status,
        "status": status,
        "text": "So far",
    }


def test_python_goes_on_after_every_number_with_exactly_the_rest(
    by_python: dict[str, Any],
) -> None:
    assert result(by_python, "every number") == {
        "wrong": [],
        "last": len("Hm. 😀 " + TEXT + '{"a": 1}') + 3 * 8,
        "text": TEXT,
        "helper": True,
    }


def test_pythons_async_helper_puts_a_stream_together_and_resumes(
    by_python: dict[str, Any],
) -> None:
    assert result(by_python, "async") == {"text": TEXT, "same": True, "polled": TEXT}


@pytest.mark.parametrize("client", BUILT_ON_IT)
def test_what_is_built_on_it_shows_the_exact_text(by_python: dict[str, Any], client: str) -> None:
    assert result(by_python, client) == {"text": TEXT, "final": TEXT}


@pytest.mark.parametrize("client", BUILT_ON_IT)
def test_what_is_built_on_it_goes_through_a_tool_loop(
    by_python: dict[str, Any], client: str
) -> None:
    shown = result(by_python, f"{client}, tools")

    assert shown == {"text": "It is 3.", "final": "It is 3."}
