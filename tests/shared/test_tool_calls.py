"""Calls of tools and their results, as parts of bodies."""

import pytest

from shared.body import Body
from shared.tool_calls import (
    ToolCall,
    ToolResult,
    calls_of,
    results_of,
    value_of,
    write_result,
)


def test_calls_are_those_of_the_answer_in_order() -> None:
    body = Body()
    body.write("text", "One moment.")
    body.write("tool_call", '{"a":1}', {"id": "x", "name": "f"}, fresh=True)
    body.write("tool_call", "{}", {"id": "y", "name": "g"}, fresh=True)

    assert calls_of(body) == [ToolCall("x", "f", '{"a":1}'), ToolCall("y", "g", "{}")]


def test_a_call_without_an_id_is_named_by_its_place() -> None:
    body = Body()
    body.write("tool_call", "{}", {"id": "x", "name": "f"}, fresh=True)
    body.write("tool_call", "{}", {"name": "g"}, fresh=True)
    body.write("tool_call", "{}", None, fresh=True)

    assert [call.id for call in calls_of(body)] == ["x", "call_1", "call_2"]
    assert calls_of(body)[2].name == ""


def test_results_come_out_as_they_went_in() -> None:
    sent = [ToolResult("x", "4"), ToolResult("y", ""), ToolResult("z", " ")]
    body = Body()
    for result in sent:
        write_result(body, result)
    body.write("text", "And now?", fresh=True)

    assert results_of(body) == sent
    assert (body.text, len(body.parts)) == ("And now?", 4)


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[-Infinity]",
        "1e400000",
        '{"a": [1e99999]}',
        "{",
        "9" * 5000,
        "[" * 101 + "]" * 101,
        "[" * 100_000,
        '{"a":' * 900 + "1" + "}" * 900,
    ],
)
def test_what_some_client_cannot_read_is_no_value(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        value_of(text)


def test_values_that_every_client_reads() -> None:
    assert value_of('{"a": [1, 2.5, "[[", null]}') == {"a": [1, 2.5, "[[", None]}
    assert value_of("[" * 100 + "]" * 100)
