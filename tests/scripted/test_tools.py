"""Tool calls and their results at the scripted provider, which is as strict as OpenAI."""

from typing import Any

import pytest

import scripted as s
from scripted.question import question_after
from scripted.server import check_tools

Message = dict[str, Any]


def calling(*ids: str) -> Message:
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": one, "type": "function", "function": function} for one in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call: str) -> Message:
    return {"role": "tool", "tool_call_id": call, "content": "x"}


USER: Message = {"role": "user", "content": "?"}


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [USER, calling("a"), result("a")],
        [USER, calling("a", "b"), result("b"), result("a"), USER],
        [USER, calling("a"), result("a"), calling("a"), result("a")],
    ],
)
def test_calls_with_their_results_are_taken(messages: list[Message]) -> None:
    check_tools(messages)


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([USER, result("a")], "preceding"),
        ([USER, calling("a"), result("b")], "preceding"),
        ([USER, calling("a"), result("a"), result("a")], "preceding"),
        ([USER, calling("a"), result("a"), USER, result("a")], "preceding"),
        ([USER, calling("a")], "must be followed"),
        ([USER, calling("a", "b"), result("a"), USER], "must be followed"),
        ([USER, calling("a"), USER, result("a")], "must be followed"),
        ([USER, {"role": "assistant", "tool_calls": [{"id": "a", "type": "x"}]}], "a function"),
    ],
)
def test_calls_or_results_alone_are_refused(messages: list[Message], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_tools(messages)


def test_results_are_answered_by_the_script_that_called() -> None:
    after = [s.say("It is 3."), s.finish(), s.done()]
    question = s.script(s.tool_call("a", "f"), s.finish("tool_calls"), s.done(), after=after)

    assert s.expected(question_after(question, ["3"])).text == "It is 3."
    assert s.expected(question).parts == (("tool_call", "{}"),)


def test_a_result_may_be_a_script_and_without_any_the_answer_is_plain() -> None:
    own = s.script(s.say("Mine."), s.finish(), s.done())

    assert question_after("?", ["3", own]) == own
    assert question_after("?", ["3", "4"]) == "3\n\n4"
