"""Every error has a registered code that stays, a status, and a sentence that a person can read."""

import re
from pathlib import Path

import pytest

from shared import errors
from shared.errors import (
    INTERNAL_ERRORS,
    MESSAGE_ERRORS,
    REQUEST_ERRORS,
    Conflict,
    GenerationFailed,
    Invalid,
    OutliveError,
)

ROOT = Path(__file__).parents[2]
FAMILY = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, OutliveError)
]
#: Those that can be raised without arguments.
KINDS = [kind for kind in FAMILY if kind.code and kind is not GenerationFailed]
CODES = {**REQUEST_ERRORS, **INTERNAL_ERRORS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_sentence_is_the_registrys_unless_another_is_given(kind: type[OutliveError]) -> None:
    assert (kind().status, kind().message) == CODES[kind.code]
    assert kind("Not on Sundays.").message == "Not on Sundays."
    assert kind("Not on Sundays.", "complete").code == "complete"


@pytest.mark.parametrize("code", REQUEST_ERRORS)
def test_a_given_code_brings_its_status_and_sentence(code: str) -> None:
    error = Invalid(code=code)

    assert (error.code, error.status, error.message) == (code, *REQUEST_ERRORS[code])


def test_codes_are_words_and_each_kind_and_registry_has_its_own() -> None:
    codes = [kind.code for kind in KINDS]

    assert len(set(codes)) == len(codes)
    registries = (REQUEST_ERRORS, INTERNAL_ERRORS, MESSAGE_ERRORS)
    registered = [code for registry in registries for code in registry]
    assert len(set(registered)) == len(registered)
    assert all(re.fullmatch("[a-z_]+", code) for code in registered)


@pytest.mark.parametrize("sentence", [error.sentence for error in CODES.values()])
def test_sentences_end_with_a_full_stop(sentence: str) -> None:
    assert re.fullmatch("[A-Za-z].*[.)]", sentence)


@pytest.mark.parametrize("code", REQUEST_ERRORS)
def test_every_registered_code_is_used(code: str) -> None:
    sources = [
        file.read_text()
        for room in ("shared", "web")
        for file in (ROOT / room).rglob("*.py")
        if file != ROOT / "shared" / "errors.py"
    ]
    kinds = {kind.code for kind in KINDS}
    parameter = code.removeprefix("invalid_")  # f"invalid_{name}" in web/requests.py

    quoted = (f'"{code}"', f'"{parameter}"')
    assert code in kinds or any(one in source for one in quoted for source in sources)


@pytest.mark.parametrize("kind", FAMILY)
def test_an_unregistered_code_is_a_bug(kind: type[OutliveError]) -> None:
    with pytest.raises(KeyError):
        kind(code="surprise")


def test_a_conflict_has_to_say_why() -> None:
    with pytest.raises(KeyError):
        Conflict()


def test_the_documented_tree_of_errors_is_the_real_one() -> None:
    named = re.findall(
        r"^(?:[│ ]*[├└]── )?([A-Z]\w+)\b(?:$|  )", errors.__doc__ or "", re.MULTILINE
    )

    assert set(named) == {kind.__name__ for kind in FAMILY}


def test_the_codes_of_an_answer_are_those_of_the_contract() -> None:
    assert set(MESSAGE_ERRORS) == {
        "worker_lost",
        "worker_shutdown",
        "queue_timeout",
        "deadline",
        "storage",
        "provider_rejected",
        "provider_unavailable",
        "provider_error",
        "provider_cut",
        "provider_stalled",
        "provider_malformed",
        "provider_empty",
    }


@pytest.mark.parametrize("code", MESSAGE_ERRORS)
def test_a_failed_generation_has_the_sentence_of_its_code(code: str) -> None:
    failure = GenerationFailed(code)

    assert (failure.code, failure.message) == (code, MESSAGE_ERRORS[code][0])
    assert re.fullmatch("[A-Z].*[.]", failure.message)


def test_a_failed_generation_may_have_a_better_sentence_and_keeps_its_code() -> None:
    failure = GenerationFailed("provider_rejected", "The quota is used up.")

    assert (failure.code, failure.message) == ("provider_rejected", "The quota is used up.")


def test_a_generation_fails_with_a_code_of_an_answer_only() -> None:
    with pytest.raises(KeyError):
        GenerationFailed("not_found")
