"""Keys that are fetched: rotation, a key server that fails, and how often it is asked."""

from collections.abc import Iterator

import pytest

from tests.credentials import EC, ED, RSA, KeyPair, KeyServer, new_ec, new_rsa, serving_keys
from web.auth import fetching, jwks
from web.auth.jwks import Jwks
from web.errors import KeysUnavailable

GARBAGE = {
    "an error": (500, {}, b"{}"),
    "another page": (200, {}, b"<!doctype html>"),
    "no keys": (200, {}, b'{"keys": []}'),
    "another document": (200, {}, b'{"keys": 7}'),
    "a list": (200, {}, b"[]"),
    "deep": (200, {}, b"[" * 100_000),
    "too long": (200, {}, b" " * (fetching.MAX_BYTES + 1)),
    "too long without saying so": (200, {"Content-Length": "9999999"}, b" " * 300_000),
    "a redirect": (302, {"Location": "http://127.0.0.1:1/"}, b""),
    "nothing": (204, {}, b""),
}


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with serving_keys(RSA) as server:
        yield server


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All waits are over."""
    for name in ("UNKNOWN_EVERY", "RETRY_EVERY"):
        monkeypatch.setattr(jwks, name, -1.0)


def knows(keys: Jwks, *pairs: KeyPair) -> list[bool]:
    """Which of these are found."""
    return [bool(keys.find(one.algorithm, one.id)) for one in pairs]


def test_a_new_key_is_found_at_once_and_unknown_ones_cost_one_fetch(server: KeyServer) -> None:
    keys, new = Jwks(server.url), new_ec()
    assert knows(keys, RSA, RSA) == [True, True]
    assert server.asked == 1

    server.keys = [RSA.jwk, new.jwk]

    assert knows(keys, new) == [True]
    assert server.asked == 2
    assert not any(knows(keys, *(new_ec() for _ in range(100))))
    assert server.asked == 2
    assert knows(keys, RSA, new) == [True, True]


def test_the_fetch_for_an_unknown_key_is_possible_again_later(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Jwks(server.url)
    assert knows(keys, ED) == [False]
    at_once(monkeypatch)
    server.keys = [ED.jwk]

    assert knows(keys, ED) == [True]
    assert knows(keys, RSA) == [False]  # it was withdrawn


@pytest.mark.parametrize("what", GARBAGE)
def test_good_keys_stay_while_the_server_fails(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    keys = Jwks(server.url)
    assert knows(keys, RSA) == [True]
    at_once(monkeypatch)
    server.instead = GARBAGE[what]

    assert knows(keys, EC, RSA) == [False, True]
    assert server.asked >= 2


def test_without_any_keys_nothing_is_known_yet(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Jwks(server.url)
    server.instead = GARBAGE["an error"]
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            knows(keys, RSA)
    assert server.asked == 1  # it is asked again, but not for every request
    at_once(monkeypatch)
    server.instead = None

    assert knows(keys, RSA) == [True]


def test_keys_that_may_not_be_used_are_left_out(server: KeyServer) -> None:
    small, p384 = new_rsa(1024), new_ec()
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"}
    server.keys = [
        secret,
        small.jwk,
        {**RSA.jwk, "kid": "encrypts", "use": "enc"},
        {**RSA.jwk, "kid": "hashes more", "alg": "RS512"},
        {**p384.jwk, "crv": "P-384"},
        {"kty": "RSA", "kid": "half"},
        {},
        EC.jwk,
    ]
    keys = Jwks(server.url)

    assert knows(keys, EC, small, p384) == [True, False, False]
    assert not keys.find("RS256", "encrypts")
    assert not keys.find("RS256", "hashes more")
    assert not keys.find("HS256", "secret")
    assert [one.id for one in keys.find("ES256", None)] == [EC.id]


def test_another_algorithm_asks_nobody(server: KeyServer) -> None:
    assert not Jwks(server.url).find("HS256", "x")
    assert not Jwks(server.url).find("none", None)
    assert server.asked == 0
