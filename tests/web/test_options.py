"""Options of a question: each is passed on unchanged or refused by name."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from web.options import DEPTH, OPTIONS_CHARS, REFUSED, Options

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": ["string", "null"], "default": None, "enum": ["Rome", None]}},
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Of a city", "parameters": SCHEMA},
}


def parsed(options: Any) -> Options:
    """As a route does it."""
    return Options.model_validate(json.loads(json.dumps(options)))


def refusals(options: Any) -> dict[str, str]:
    """The options that are refused, and what is said of each."""
    with pytest.raises(ValidationError) as error:
        parsed(options)
    return {str(problem["loc"][0]): problem["msg"] for problem in error.value.errors()}


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 0.7, "top_p": 1, "seed": -3},
        {"max_tokens": 1, "max_completion_tokens": 5},
        {"presence_penalty": -2, "frequency_penalty": 2},
        {"stop": "\n"},
        {"stop": ["a", "b"]},
        {"reasoning_effort": "low", "verbosity": "high", "store": True},
        {"top_k": 5, "thinking": {"type": "enabled"}, "keep_alive": "5m"},
        {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tools": [{"type": "function", "function": {"name": "now", "strict": True}}]},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"response_format": {"type": "json_object"}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        },
        {"logit_bias": {"50256": -100}, "metadata": {"thread": "7"}},
        {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "service_tier": "flex"},
    ],
)
def test_allowed_options_are_passed_on_unchanged(options: dict[str, Any]) -> None:
    assert json.dumps(parsed(options).passed(), sort_keys=True) == json.dumps(
        options, sort_keys=True
    )


def test_null_option_is_left_out() -> None:
    assert parsed({"seed": None, "tools": None}).passed() == {}


@pytest.mark.parametrize(
    "name", ["model", "messages", "extra_body", "api_key", "base_url", "", *REFUSED]
)
def test_any_other_option_is_refused_by_name(name: str) -> None:
    assert [*refusals({name: 1, "seed": 1})] == [name]


@pytest.mark.parametrize("name", REFUSED)
def test_a_known_option_is_refused_with_a_reason(name: str) -> None:
    assert REFUSED[name] in refusals({name: None})[name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "0.7"),
        ("temperature", 2.1),
        ("temperature", True),
        ("temperature", float("nan")),
        ("top_p", float("inf")),
        ("top_p", -0.1),
        ("max_tokens", 0),
        ("max_tokens", 1.0),
        ("max_completion_tokens", "5"),
        ("presence_penalty", -2.1),
        ("seed", 1.5),
        ("stop", 7),
        ("stop", ["a"] * 9),
        ("stop", [7]),
        ("reasoning_effort", 5),
        ("tools", []),
        ("tools", [{"type": "custom", "custom": {"name": "f"}}]),
        ("tools", [{**TOOL, "cache": True}]),
        ("tools", [{"type": "function", "function": {"name": "", "parameters": {}}}]),
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": []}}]),
        ("tools", [TOOL] * 129),
        ("tool_choice", "weather"),
        ("parallel_tool_calls", "yes"),
        ("response_format", {"type": "grammar"}),
        ("response_format", "json_object"),
        ("metadata", {"a": 1}),
        ("metadata", {str(number): "" for number in range(17)}),
        ("logit_bias", {"1": 101}),
    ],
)
def test_option_of_another_type_is_refused_not_coerced(name: str, value: Any) -> None:
    assert name in refusals({name: value})


def tool(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


def test_text_in_any_json_is_normalised() -> None:
    sent = {"a\x00": ["b\ud800", {"c": "\ud83d\ude00\x00"}]}

    [passed] = parsed(tool(sent)).passed()["tools"]

    assert passed["function"]["parameters"] == {"a\ufffd": ["b\ufffd", {"c": "😀\ufffd"}]}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_postgres_cannot_hold_are_refused(number: float) -> None:
    assert "NaN" in refusals(tool({"default": number}))["tools"]


def test_any_json_has_a_limited_depth() -> None:
    def nested(depth: int) -> dict[str, Any]:
        return {"items": nested(depth - 1)} if depth > 1 else {}

    parsed(tool(nested(DEPTH)))
    assert "deeply" in refusals(tool(nested(DEPTH + 1)))["tools"]


def test_options_have_a_limited_size() -> None:
    parsed(tool({"description": "x" * (OPTIONS_CHARS - 200)}))
    with pytest.raises(ValidationError, match="characters"):
        parsed(tool({"description": "x" * OPTIONS_CHARS}))
