"""What is sent to browsers: encrypted, to allowed places only, and nothing that is not wanted."""

import socket
import uuid
from datetime import UTC, datetime
from typing import Any

import http_ece
import pytest

from shared.push_services import Place, place_of
from shared.store.pushes import Push, Subscription
from shared.vapid import Vapid, new_key
from tests.push_receiver import KEY, receiving, rfc_8291
from worker import pushing
from worker.push_encryption import encrypt
from worker.pushing import NotAllowed, payload


def subscription(**changes: Any) -> Subscription:
    plain: dict[str, Any] = {
        "id": uuid.uuid4(), "endpoint": "https://push.example.org/x", "p256dh": "", "auth": "",
        "with_text": False, "created_at": datetime.now(UTC),
    }  # fmt: skip
    return Subscription(**{**plain, **changes})


def push(**changes: Any) -> Push:
    plain: dict[str, Any] = {
        "message_id": uuid.uuid4(), "conversation_id": uuid.uuid4(), "status": "DONE",
        "title": "Secret plans", "text": "The answer is 42.", "subscriptions": [],
    }  # fmt: skip
    return Push(**{**plain, **changes})


def test_another_implementation_decrypts_the_example_of_the_standard_and_ours() -> None:
    body, private, secret = rfc_8291()
    assert http_ece.decrypt(body, private_key=private, auth_secret=secret) == (
        b"When I grow up, I want to be a watermelon"
    )
    with receiving() as receiver:
        keys = receiver.subscription("x")["keys"]
        sealed = encrypt('{"é": 1}'.encode(), keys["p256dh"], keys["auth"])
        headers = {"Authorization": Vapid(KEY, "mailto:a@b").authorization(receiver.origin)}
        receiver.take("/x", headers, sealed)
        assert receiver.next().said == {"é": 1}


@pytest.mark.parametrize("p256dh", ["", "AAAA", "B" * 87])
def test_a_key_that_is_no_point_is_a_value_error(p256dh: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each library has its own words
        encrypt(b"x", p256dh, "A" * 22)


def test_nothing_of_an_answer_is_sent_unless_it_is_wanted() -> None:
    assert b"The answer" not in payload(push(), with_text=False)
    assert b"Secret" not in payload(push(), with_text=False)
    assert b'"result": "failed"' in payload(push(status="ERROR"), with_text=False)
    assert b'"text": "The answer is 42."' in payload(push(), with_text=True)
    long = payload(push(title="\U0001f600" * 999, text='"' * 200), with_text=True)
    assert len(long) < 3_900


def test_a_proof_is_made_once_and_says_for_whom_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    vapid = Vapid(new_key(), "mailto:a@b")

    first = vapid.authorization("https://one.example")

    assert vapid.authorization("https://one.example") == first
    assert vapid.authorization("https://two.example") != first


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["142.250.74.10", "127.0.0.1"]])
def test_a_name_that_leads_to_a_private_address_is_not_asked(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    place = place_of("https://push.example.org/x", {"push.example.org"})
    assert place is not None

    with pytest.raises(NotAllowed):
        pushing._address(place)
    assert pushing._address(Place("https", "push.internal", 443, named=True)) == addresses[0]
