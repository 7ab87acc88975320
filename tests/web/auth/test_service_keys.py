"""Service keys: made and revoked on the command line, used over HTTP."""

import json
from typing import Any

import pytest

from local.programs import Web
from shared.secret_token import SERVICE_KEY
from tests.client import Client, new_id
from tests.credentials import client_with, new_key, operate, token, user_id
from tests.rig import Rig, eventually


def asked(web: Web, key: str, user: bytes | None = None) -> Any:
    """The answer to a request for the key's conversations, or for those of a user."""
    headers = {b"Authorization": b"Bearer " + key.encode()}
    if user is not None:
        headers[b"Outlive-User"] = user
    with Client(web.url) as client:
        return client.http.get("/api/conversations", headers=headers)


def row_of(rig: Rig, key_id: str) -> Any:
    [row] = rig.rows("SELECT * FROM service_keys WHERE id = CAST(:id AS uuid)", id=key_id)
    return row


def test_a_key_is_printed_once_and_kept_as_a_hash(required_web: Web, rig: Rig) -> None:
    done = operate(rig, "key", "add", "The billing job", "--scope", "ask")
    key = done.stdout.strip()
    assert SERVICE_KEY.is_well_formed(key)
    assert asked(required_web, key).status_code == 200

    listed = operate(rig, "key", "list").output

    assert SERVICE_KEY.shown(key) in listed
    assert "The billing job" in listed
    assert key not in listed
    secret = key.removeprefix(SERVICE_KEY.prefix)[8:]
    [kept] = rig.rows(
        "SELECT CAST(to_jsonb(k) AS text) AS row FROM service_keys k WHERE prefix = :prefix",
        prefix=SERVICE_KEY.shown(key),
    )
    assert secret not in kept.row
    assert secret not in rig.logs()


def test_a_key_acts_for_a_user_of_its_own(required_web: Web, rig: Rig) -> None:
    (one, _), (other, _) = new_key(rig, "ask"), new_key(rig, "ask")
    with client_with(required_web, one) as mine, client_with(required_web, other) as another:
        conversation = mine.conversation()

        assert mine.http.get(f"/api/conversations/{conversation}").status_code == 200
        assert another.http.get(f"/api/conversations/{conversation}").status_code == 404


def test_a_key_may_act_for_an_account(required_web: Web, rig: Rig) -> None:
    login, user = f"ann-{new_id()}", new_id()
    rig.rows(
        "INSERT INTO users (id, name, login) VALUES (CAST(:id AS uuid), 'Ann', :login)"
        " RETURNING id",
        id=user,
        login=login,
    )
    key, key_id = new_key(rig, "read", "--user", login.upper())

    assert str(row_of(rig, key_id).user_id) == user
    assert asked(required_web, key).status_code == 200
    rig.rows("UPDATE users SET disabled_at = now() WHERE login = :it RETURNING id", it=login)
    refused = operate(rig, "key", "add", "x", "--scope", "read", "--user", login)
    assert (refused.exit_code, "or it is disabled" in refused.output) == (1, True)


def test_a_key_with_act_as_acts_for_the_user_that_it_names(required_web: Web, rig: Rig) -> None:
    subject = f"Zoë {new_id()}"
    key, _ = new_key(rig, "ask,act_as")
    with client_with(required_web, key, **{"Outlive-User": subject}) as client:
        conversation = client.conversation()

    assert user_id(rig, subject)
    with client_with(required_web, token(subject)) as themselves:
        assert themselves.http.get(f"/api/conversations/{conversation}").status_code == 200
    assert asked(required_web, key).json()["items"] == []  # without the header it is itself


@pytest.mark.parametrize("name", [b"", b"x" * 256, b"a\tb", b"\xff\xfe"], ids=repr)
def test_a_user_that_cannot_be_is_refused(required_web: Web, rig: Rig, name: bytes) -> None:
    key, _ = new_key(rig, "ask,act_as")

    refused = asked(required_web, key, name)

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_user")


def test_a_key_without_act_as_may_name_nobody(required_web: Web, rig: Rig) -> None:
    subject = new_id()
    key, _ = new_key(rig, "read,ask,admin")

    refused = asked(required_web, key, subject.encode())

    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert 'scope="act_as"' in refused.headers["WWW-Authenticate"]
    assert user_id(rig, subject) is None


@pytest.mark.parametrize(
    "key",
    ["olk_", "olk_x", "olk_" + "A" * 43, "olk_" + "A" * 44, "olk_" + "A" * 42 + ".", "olk_é"],
)
def test_any_other_key_is_refused(required_web: Web, key: str) -> None:
    refused = asked(required_web, key)

    assert refused.status_code == 401
    assert refused.json()["code"] in ("key_invalid", "token_invalid")


def test_a_revoked_key_is_refused_at_once(required_web: Web, rig: Rig) -> None:
    key, key_id = new_key(rig, "ask")
    for _ in range(8):  # both processes have found it good
        assert asked(required_web, key).status_code == 200

    assert operate(rig, "key", "revoke", key_id).output == "Revoked.\n"

    eventually(lambda: all(asked(required_web, key).status_code == 401 for _ in range(8)))
    assert asked(required_web, key).json()["code"] == "key_invalid"
    again = operate(rig, "key", "revoke", SERVICE_KEY.shown(key))
    assert (again.exit_code, "There is no such key" in again.output) == (1, True)


def test_a_key_is_revoked_without_redis_too(rig: Rig, nowhere: str) -> None:
    _, key_id = new_key(rig, "ask")

    done = operate(rig, "key", "revoke", key_id, REDIS_URL=f"redis://{nowhere}")

    assert done.exit_code == 0
    assert "another minute" in done.output
    assert row_of(rig, key_id).revoked_at


def test_an_expired_key_is_refused(required_web: Web, rig: Rig) -> None:
    key, key_id = new_key(rig, "ask", "--expires", "1h")
    left = rig.rows("SELECT expires_at - now() AS left FROM service_keys WHERE id = CAST(:id AS"
                    " uuid)", id=key_id)[0].left  # fmt: skip
    assert 3500 < left.total_seconds() <= 3600
    rig.rows("UPDATE service_keys SET expires_at = now() WHERE id = CAST(:id AS uuid) RETURNING id",
             id=key_id)  # fmt: skip

    refused = asked(required_web, key)

    assert (refused.status_code, refused.json()["code"]) == (401, "key_invalid")


def test_use_is_noted(required_web: Web, rig: Rig) -> None:
    key, key_id = new_key(rig, "read")
    assert row_of(rig, key_id).used_at is None

    asked(required_web, key)

    eventually(lambda: row_of(rig, key_id).used_at)
    listed = json.loads(operate(rig, "key", "list", "--json").stdout)
    assert next(one for one in listed if one["id"] == key_id)["used_at"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["add", "x", "--scope", "write"], "the scopes are read, ask, admin, act_as"),
        (["add", "x", "--scope", ","], "the scopes are"),
        (["add", "x"], "--scope"),
        (["add", "x\n", "--scope", "read"], "printable"),
        (["add", "x", "--scope", "read", "--expires", "soon"], "12h, 90d or 52w"),
        (["add", "x", "--scope", "read", "--expires", "0d"], "12h, 90d or 52w"),
        (["revoke"], "WHICH"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(rig: Rig, words: list[str], why: str) -> None:
    done = operate(rig, "key", *words)

    assert done.exit_code == 2
    assert why in done.output


def test_the_command_line_says_how_to_sign_in(rig: Rig, required_web: Web) -> None:
    done = operate(rig, "list", "--url", required_web.url)

    assert done.exit_code == 1
    assert "Set OUTLIVE_TOKEN" in done.output
