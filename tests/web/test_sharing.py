"""Sharing over HTTP: links and named users read, live and for as long as they may."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from local.programs import Web, Worker
from scripted import say
from tests.client import Client, new_id
from tests.credentials import bearer, client_with, new_key, operate, token
from tests.rig import Rig, eventually
from tests.stories import Held, holding

#: Seconds within which a revoked reader's stream has to end.
SOON = 2.0


@pytest.fixture(autouse=True)
def _served(worker: Worker) -> None:
    """A worker writes the answers."""


@pytest.fixture
def owner(required_web: Web) -> Iterator[Client]:
    with client_with(required_web, token(new_id())) as client:
        yield client


def share(owner: Client, conversation: str, **fields: Any) -> dict[str, Any]:
    """A new share."""
    answer = owner.http.post(f"/api/conversations/{conversation}/shares", json=fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def revoke(owner: Client, share_id: str) -> None:
    assert owner.http.delete(f"/api/shares/{share_id}").status_code == 204


def new_user(web: Web) -> tuple[str, str]:
    """A host's user who was here before: what the host calls them, and a token."""
    subject = new_id()
    signed = token(subject)
    with client_with(web, signed) as client:
        assert client.http.get("/api/usage").status_code == 200
    return subject, signed


@contextmanager
def streams_of(web: Web, held: Held, credential: str) -> Iterator[list[Iterator[bytes]]]:
    """Both kinds of streams of an answer; each has brought something."""
    with httpx2.Client(base_url=web.url, headers=bearer(credential), verify=False) as http:
        found = []
        for kind in ("stream", "blocks/stream"):
            request = http.build_request("GET", f"/api/messages/{held.id}/{kind}")
            response = http.send(request, stream=True)
            assert response.status_code == 200
            found.append(response.iter_raw())
            next(found[-1])
        yield found


def test_a_link_reads_one_conversation_live(required_web: Web, rig: Rig, owner: Client) -> None:
    with holding(rig, owner, say("Once upon a time"), say(" the end")) as held:
        made = share(owner, held.conversation)
        with client_with(required_web, made["token"]) as reader:
            [found] = reader.http.get("/api/shared").json()["items"]
            assert found["id"] == held.conversation
            turns = reader.http.get(f"/api/conversations/{held.conversation}/turns")
            assert [one["role"] for one in turns.json()["items"]] == ["user", "assistant"]
            assert made["path"] == f"/s#{made['token']}"
            with streams_of(required_web, held, made["token"]) as streams:
                eventually(lambda: _readers(owner, held.conversation) == [2], 30)
                held.go_on()
                for stream in streams:
                    assert b"event: end" in b"".join(stream)
            assert reader.message(held.id)["text"] == held.text


def _readers(owner: Client, conversation: str) -> list[int]:
    items = owner.http.get(f"/api/conversations/{conversation}/shares").json()["items"]
    assert all("token" not in one for one in items)
    return [one["readers"] for one in items]


def test_a_revoked_links_streams_end_at_once_and_it_leads_to_nothing(
    required_web: Web, rig: Rig, owner: Client
) -> None:
    with holding(rig, owner, say("Once upon a time")) as held:
        gone, stays = share(owner, held.conversation), share(owner, held.conversation)
        with (
            streams_of(required_web, held, gone["token"]) as streams,
            streams_of(required_web, held, stays["token"]) as others,
        ):
            since = time.monotonic()
            revoke(owner, gone["id"])
            for stream in streams:
                assert b"event: end" not in b"".join(stream)
            assert time.monotonic() - since < SOON
            held.go_on()
            for stream in others:
                assert b"event: end" in b"".join(stream)
        for path in (f"/api/messages/{held.id}", "/api/shared", "/api/nothing"):
            answer = httpx2.get(
                required_web.url + path, headers=bearer(gone["token"]), verify=False
            )
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_named_user_reads_until_it_is_revoked(required_web: Web, rig: Rig, owner: Client) -> None:
    name, credential = new_user(required_web)
    with holding(rig, owner, say("Once upon a time")) as held:
        path = f"/api/messages/{held.id}"
        with client_with(required_web, credential) as reader:
            assert reader.http.get(path).status_code == 404
            made = share(owner, held.conversation, user=name)
            assert (made["token"], made["user"]) == (None, name)
            assert made["path"] == f"/s/{held.conversation}"
            [found] = reader.http.get("/api/shared").json()["items"]
            assert found["id"] == held.conversation
            with streams_of(required_web, held, credential) as streams:
                eventually(lambda: _readers(owner, held.conversation) == [2], 30)
                since = time.monotonic()
                revoke(owner, made["id"])
                for stream in streams:
                    assert b"event: end" not in b"".join(stream)
                assert time.monotonic() - since < SOON
            assert reader.http.get(path).status_code == 404
            assert reader.http.get(f"{path}/stream").status_code == 404
            assert reader.http.get("/api/shared").json() == {"items": []}


def test_what_a_disabled_user_shares_is_lost_at_once(required_web: Web, rig: Rig) -> None:
    subject = new_id()
    with (
        client_with(required_web, token(subject)) as owner,
        holding(rig, owner, say("Once upon a time")) as held,
    ):
        made = share(owner, held.conversation)
        with streams_of(required_web, held, made["token"]) as streams:
            since = time.monotonic()
            assert operate(rig, "user", "disable", subject).output == "Disabled.\n"
            for stream in streams:
                assert b"event: end" not in b"".join(stream)
            assert time.monotonic() - since < SOON
        with client_with(required_web, made["token"]) as reader:
            assert reader.http.get(f"/api/messages/{held.id}").status_code == 404
        operate(rig, "user", "enable", subject)


def test_who_shares_is_not_shown(required_web: Web, rig: Rig) -> None:
    subject = f"owner-{new_id()}"
    with client_with(required_web, token(subject)) as owner:
        conversation = owner.conversation(system="A secret instruction.")
        made = share(owner, conversation)
    with client_with(required_web, made["token"]) as reader:
        shown = [
            reader.http.get(path).text
            for path in (
                "/api/shared",
                f"/api/conversations/{conversation}",
                f"/api/conversations/{conversation}/turns",
            )
        ]
    user = rig.rows("SELECT id FROM users WHERE subject = :subject", subject=subject)[0].id
    assert not [text for text in shown for secret in (subject, str(user)) if secret in text]
    assert not [text for text in shown if "secret instruction" in text]


def test_a_link_expires(required_web: Web, rig: Rig, owner: Client) -> None:
    conversation = owner.conversation()
    made = share(owner, conversation, days=1)
    assert made["expires_at"] is not None
    past = "UPDATE shares SET expires_at = now() WHERE id = CAST(:id AS uuid) RETURNING id"
    rig.rows(past, id=made["id"])

    with client_with(required_web, made["token"]) as reader:
        assert reader.http.get("/api/shared").status_code == 404


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"user": "nobody of this name"}, "no_such_user"),
        ({"days": 0}, "invalid"),
        ({"days": 100_000}, "invalid"),
        ({"with": "x"}, "invalid"),
    ],
)
def test_a_share_that_makes_no_sense_is_refused(
    owner: Client, fields: dict[str, Any], code: str
) -> None:
    answer = owner.http.post(f"/api/conversations/{owner.conversation()}/shares", json=fields)

    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_key_that_only_reads_cannot_share(required_web: Web, rig: Rig, owner: Client) -> None:
    key, _ = new_key(rig, "read")
    with client_with(required_web, key) as reader:
        answer = reader.http.post(f"/api/conversations/{owner.conversation()}/shares", json={})

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


def test_without_sign_in_there_is_nobody_to_share_with(client: Client) -> None:
    answer = client.http.post(f"/api/conversations/{client.conversation()}/shares", json={})

    assert (answer.status_code, answer.json()["code"]) == (409, "needs_sign_in")
    assert "OUTLIVE_AUTH=required" in answer.json()["detail"]
    assert 'id="share"' not in client.http.get("/").text


def test_a_links_secret_is_in_no_log_and_not_in_the_tables(
    required_web: Web, rig: Rig, owner: Client
) -> None:
    made = share(owner, owner.conversation())
    with client_with(required_web, made["token"]) as reader:
        assert reader.http.get("/api/shared").status_code == 200
        assert reader.http.get("/s").headers["Referrer-Policy"] == "no-referrer"

    assert made["token"] not in rig.logs()
    rows = rig.rows("SELECT CAST(to_jsonb(s) AS text) AS row FROM shares s")
    assert not [row for row in rows if made["token"] in row.row]
