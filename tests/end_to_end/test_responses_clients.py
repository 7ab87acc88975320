"""OpenAI's package for Node, unmodified, and its Responses: resumed, cut, cancelled, failed.

All cases run in one process of Node. `RESPONSES_EVERY=1` resumes from every number, and cuts after
every event; otherwise from every seventh.
"""

import json
import os
import subprocess
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
from tests.foreign import need, need_node, npm_packages
from tests.rig import PATIENCE, Rig
from tests.stories import NEVER

EVERY: Final = int(os.environ.get("RESPONSES_EVERY", "7"))
TEXT: Final = "Hello 😀 你好\r\n\u2028e\u0301 there."
#: Events of `_text`, at least: its deltas may come together.
EVENTS: Final = 15


def _everything() -> str:
    return script(
        reasoning("Hm. 😀 "), say(TEXT, chunk=3), tool_call("c1", "look", '{"a": 1}'),
        finish("tool_calls"), usage(), done(), tag=new_id(),
    )  # fmt: skip


def _text() -> str:
    return script(reasoning("Hm. "), say(TEXT, chunk=3), finish(), done(), tag=new_id())


@pytest.fixture(scope="module")
def found(rig: Rig, web: Web, long_lived_worker: Worker) -> dict[str, Any]:
    """What every case came to."""
    need_node(20)
    place = npm_packages(ROOT / "tests" / "clients", "clients", "responses.mjs")
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
    node = subprocess.run(
        [need("node"), "responses.mjs"], cwd=place, capture_output=True, text=True, check=False,
        input=json.dumps([{"name": case["case"], "url": web.url, **case} for case in cases]),
        timeout=4 * PATIENCE, env={**os.environ, "no_proxy": "*"},
    )  # fmt: skip
    assert node.returncode == 0, node.stderr
    lines = [json.loads(line) for line in node.stdout.removesuffix("\n").split("\n")]
    assert len(lines) == len(cases), node.stderr
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
