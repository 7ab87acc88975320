"""Which option of a request a refusal is about."""

import pytest

from worker.provider.refusals import RequestForm, classify

OPTIONS = ("n", "stop", "store", "user", "tools", "tool_choice", "top_k")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Unknown parameter: 'top_k'", "top_k"),
        ("the user sent `tool_choice`, which is not known", "tool_choice"),
        ("top_k is not permitted", "top_k"),
        ("Unsupported value for stop.", "stop"),
        ("The engine has stopped and restored no users; no tools2 nor top_k_max", None),
        ("non-stop", None),
        ("", None),
    ],
)
def test_an_option_is_named_only_where_it_is_a_word(text: str, named: str | None) -> None:
    found = classify(422, text, RequestForm("m", OPTIONS))

    assert found.sentence == (
        f"The model's provider does not accept the option “{named}”." if named else None
    )


def test_a_request_without_options_names_none() -> None:
    assert classify(422, "what is '' here", RequestForm("m")).sentence is None
