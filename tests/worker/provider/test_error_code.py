"""Of a provider's error only a code that quotes nothing is kept."""

import json
from typing import Any

import pytest

from worker.provider.refusals import Classification, Refusal, error_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "context_length_exceeded", "type": "x_y"}, "context_length_exceeded"),
        ({"code": None, "type": "server_error"}, "server_error"),
        ({"code": 429, "type": "rate_limit_exceeded"}, "rate_limit_exceeded"),
        ({"code": "Why is the sky blue?", "type": "sk-abc123"}, None),
        ({"code": "sk-live-0123456789abcdef"}, None),
        ({"code": "word\nword"}, None),
        ({"code": "x" * 49}, None),
        ({}, None),
        ("a sentence", None),
        (None, None),
    ],
)
def test_only_a_plain_word_is_a_code(error: Any, code: str | None) -> None:
    assert error_code(json.dumps({"error": error})) == code


@pytest.mark.parametrize("body", ["", "<html>", "[]", "5", "{", "[" * 100_000])
def test_what_is_no_error_has_no_code(body: str) -> None:
    assert error_code(body) is None


def test_a_refusal_names_what_it_has() -> None:
    nothing = Classification()

    assert Refusal(nothing).upstream is None
    assert Refusal(nothing, status=429).upstream == {"status": 429}
    found = Refusal(nothing, status=401, code="invalid_api_key").upstream
    assert found == {"status": 401, "code": "invalid_api_key"}
