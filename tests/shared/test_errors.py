"""Every error has a code that stays and a sentence that a person can read."""

import re

import pytest

from shared import errors
from shared.errors import MESSAGE_ERRORS, GenerationFailed, OutliveError

FAMILY = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, OutliveError)
]
KINDS = [kind for kind in FAMILY if kind is not GenerationFailed]


@pytest.mark.parametrize("kind", KINDS)
def test_the_sentence_is_the_docstring_unless_another_is_given(kind: type[OutliveError]) -> None:
    assert kind().message == (kind.__doc__ or "").strip() != ""
    assert kind("Not on Sundays.").message == "Not on Sundays."
    assert kind("Not on Sundays.", "sunday").code == "sunday"


def test_codes_are_words_and_each_kind_has_its_own() -> None:
    codes = [kind.code for kind in KINDS]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z_]+", code) for code in [*codes, *MESSAGE_ERRORS])


def test_the_tree_at_the_top_of_the_file_is_the_tree() -> None:
    named = re.findall(r"^(?:[│ ]*[├└]── )?([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)

    assert set(named) - {"Only", "What"} == {kind.__name__ for kind in FAMILY}


def test_whether_a_retry_helps_is_inherited() -> None:
    retryable = {kind.__name__ for kind in KINDS if kind().retryable}

    assert retryable == {
        "TooMany", "Unavailable", "StorageDown", "Busy", "TooSlow", "RedisDown",
    }  # fmt: skip


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
def test_a_failed_generation_has_the_sentence_and_the_advice_of_its_code(code: str) -> None:
    failure = GenerationFailed(code)

    assert (failure.code, (failure.message, failure.retryable)) == (code, MESSAGE_ERRORS[code])
    assert re.fullmatch("[A-Z].*[.]", failure.message)


def test_a_failed_generation_may_say_it_better_but_keeps_its_code() -> None:
    failure = GenerationFailed("provider_rejected", "The quota is used up.")

    assert (failure.code, failure.message) == ("provider_rejected", "The quota is used up.")
    assert not failure.retryable


def test_a_code_nobody_knows_is_a_bug() -> None:
    with pytest.raises(KeyError):
        GenerationFailed("surprise")
