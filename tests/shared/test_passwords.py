"""Which passwords are accepted, and what is kept of them."""

import pytest

from shared import logins, passwords

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def encoded() -> str:
    return passwords.hashed(PASSWORD)


def test_a_hash_matches_its_password_only(encoded: str) -> None:
    assert passwords.matches(PASSWORD, encoded)
    assert not passwords.matches(PASSWORD + " ", encoded)
    assert not passwords.matches("", encoded)
    assert PASSWORD not in encoded
    assert encoded.startswith("$argon2id$")


def test_the_same_password_has_another_hash_each_time(encoded: str) -> None:
    assert passwords.hashed(PASSWORD) != encoded


def test_a_password_typed_in_another_form_is_the_same() -> None:
    composed, decomposed, wide = "pässwort", "pa\u0308sswort", "ｐässwort"
    encoded = passwords.hashed(composed)

    assert passwords.matches(decomposed, encoded)
    assert passwords.matches(wide, encoded)


@pytest.mark.parametrize("strange", ["\ud800" * 8, "\x00" * 8, "x" * 100_000, "\ufdfa" * 1024])
def test_whatever_is_sent_as_a_password_is_merely_wrong(encoded: str, strange: str) -> None:
    assert not passwords.matches(strange, encoded)


@pytest.mark.parametrize("broken", ["", "x", "$argon2id$v=19$m=8,t=1,p=1$$", "$2b$12$abc"])
def test_a_broken_hash_matches_nothing(broken: str) -> None:
    assert not passwords.matches(PASSWORD, broken)


def test_what_stands_for_no_account_matches_nothing_and_is_made_like_a_hash(encoded: str) -> None:
    nobodys = passwords.unmatchable()

    assert not passwords.matches("", nobodys)
    assert not passwords.is_outdated(nobodys)
    assert len(nobodys) == len(encoded)
    assert nobodys.split("$")[:4] == encoded.split("$")[:4]


def test_a_hash_with_other_parameters_is_outdated(encoded: str) -> None:
    assert passwords.is_outdated(encoded.replace("t=2", "t=1"))
    assert not passwords.is_outdated(encoded)


@pytest.mark.parametrize("good", ["12345678", "x" * 1024, "ä" * 8, "        "])
def test_long_enough_is_good_enough(good: str) -> None:
    assert passwords.why_refused(good) is None


@pytest.mark.parametrize("bad", ["", "1234567", "a\u0308" * 7, "x" * 1025])
def test_too_short_or_too_long_is_refused(bad: str) -> None:
    assert passwords.why_refused(bad) == "A password has 8 to 1024 characters."


@pytest.mark.parametrize(
    ("typed", "login"),
    [
        ("Ann", "ann"),
        (" ann@example.org ", "ann@example.org"),
        ("ＡＮＮ", "ann"),
        ("Zoë", "zoë"),
        ("", None),
        (" ", None),
        ("ann b", None),
        ("ann\x00", None),
        ("ann\u200b", None),
        ("\ud800", None),
        ("x" * 101, None),
        ("\ufdfa" * 100, None),
    ],
)
def test_a_login_has_one_form(typed: str, login: str | None) -> None:
    assert logins.normal(typed) == login
