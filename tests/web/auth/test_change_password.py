"""People change their own password: who may, what ends, and what goes on."""

import threading
import uuid
from typing import Any, Final

import httpx2
import pytest
from sqlalchemy import text

from local.programs import Web
from shared.store import accounts, users
from tests.client import new_id
from tests.credentials import ISSUER, bearer, new_key
from tests.rig import PATIENCE, Rig, eventually
from tests.signing_in import (
    PASSWORD,
    Session,
    account_id,
    attempt,
    begin_session,
    new_account,
    session_of,
)
from tests.web.auth.test_sessions import (
    RATE,
    SOON,
    audited,
    ends_within,
    guess_until_refused,
    refused,
    row_of,
    stream,
)
from web.auth import known_devices

ANOTHER: Final = "another horse, another battery"


def change(session: Session, current: str = PASSWORD, new: str = ANOTHER) -> httpx2.Response:
    return session.post("/api/user/password", {"current": current, "new": new})


def kept_hash(rig: Rig, login: str) -> str:
    """The hash of an account's password."""
    found = accounts.find(rig.db, login)
    assert found is not None
    return found.password_hash


def test_another_password_ends_all_other_sessions_and_their_streams(
    required_web: Web, rig: Rig
) -> None:
    login = new_account(rig)
    session, other = (session_of(required_web, attempt(required_web, login)) for _ in range(2))
    with stream(session) as kept, stream(other) as one, stream(other) as two:
        answer = change(session)

        assert answer.status_code == 204
        assert ends_within(SOON, one, two)
        assert kept.is_alive()
        assert {session.get("/api/models").status_code for _ in range(8)} == {200}
        assert refused(other.get("/api/models")) == (401, "session_ended")
        session_id = row_of(rig, session).id
        session.sign_out()
        assert ends_within(SOON, kept)
    assert refused(attempt(required_web, login)) == (401, "sign_in_failed")
    assert attempt(required_web, login, ANOTHER).status_code == 204
    [row] = rig.rows("SELECT * FROM audit WHERE action = 'password_changed'"
                     " AND credential = :it", it=f"session {session_id}")  # fmt: skip
    user = account_id(rig, login)
    assert (str(row.user_id), row.object_id, row.address) == (user, user, "127.0.0.1")


def test_the_browser_keeps_its_session_and_is_known_by_the_new_password(
    required_web: Web, rig: Rig
) -> None:
    login = new_account(rig)
    session = session_of(required_web, attempt(required_web, login))

    answer = change(session)

    assert dict(answer.cookies) == {
        "outlive_device": known_devices.proof(kept_hash(rig, login)),
    }
    assert answer.headers["cache-control"] == "no-store"
    assert PASSWORD not in rig.logs()
    assert ANOTHER not in rig.logs()


def test_a_wrong_password_changes_nothing_and_is_counted(required_web: Web, rig: Rig) -> None:
    login = new_account(rig)
    session, other = (session_of(required_web, attempt(required_web, login)) for _ in range(2))
    before = kept_hash(rig, login)

    assert refused(change(session, "a wrong one")) == (403, "wrong_password")
    late = guess_until_refused(lambda: change(session, "a wrong one"), (403, "wrong_password"))

    assert 0 < int(late.headers["retry-after"]) <= 86_400
    assert kept_hash(rig, login) == before
    assert other.get("/api/models").status_code == 200
    noted = audited(rig, account_id(rig, login))
    assert RATE <= noted.count(("sign_in_failed", "session")) <= 2 * RATE
    assert not [action for action, _ in noted if action == "password_changed"]
    # who knows the password is let in from elsewhere
    assert attempt(required_web, login).status_code == 204


@pytest.mark.parametrize(
    ("new", "code"),
    [("seven..", "invalid_password"), ("x" * 1_025, "invalid_password"), ("x" * 4_001, "invalid")],
)
def test_what_cannot_be_a_password_is_refused(
    required_web: Web, rig: Rig, new: str, code: str
) -> None:
    login = new_account(rig)
    session = session_of(required_web, attempt(required_web, login))

    answer = change(session, new=new)

    assert refused(answer) == (422, code)
    assert new not in answer.text
    if code == "invalid_password":
        assert answer.json()["detail"] == "A password has 8 to 1024 characters."


@pytest.mark.parametrize(
    "body", [{"current": PASSWORD}, {"current": PASSWORD, "new": ANOTHER, "login": "ben"}]
)
def test_another_shape_is_refused(required_web: Web, rig: Rig, body: dict[str, Any]) -> None:
    session = session_of(required_web, attempt(required_web, new_account(rig)))

    assert refused(session.post("/api/user/password", body)) == (422, "invalid")


def test_who_signs_in_elsewhere_has_no_password_to_change(required_web: Web, rig: Rig) -> None:
    user = users.by_subject(rig.db, ISSUER, new_id()).id
    session = Session(required_web.url, begin_session(rig.db, user))
    key, _ = new_key(rig, "ask")

    assert refused(change(session)) == (422, "no_password")
    assert refused(change(Session(required_web.url, bearer(key)))) == (422, "no_session")
    page = session.get("/", Accept="text/html").text
    assert 'id="account"' in page
    assert 'id="password"' not in page


def test_a_user_who_was_disabled_changes_nothing(required_web: Web, rig: Rig) -> None:
    login = new_account(rig)
    session = session_of(required_web, attempt(required_web, login))
    assert session.get("/api/models").status_code == 200
    before = kept_hash(rig, login)
    accounts.disable(rig.db, uuid.UUID(account_id(rig, login)))  # and no process is notified

    assert refused(change(session)) == (401, "session_ended")

    [row] = rig.rows("SELECT password_hash FROM users WHERE login = :it", it=login)
    assert row.password_hash == before


def test_a_user_who_is_disabled_while_the_password_is_hashed_keeps_the_old_one(
    required_web: Web, rig: Rig
) -> None:
    login = new_account(rig)
    session = session_of(required_web, attempt(required_web, login))
    before, answers = kept_hash(rig, login), []
    changing = threading.Thread(target=lambda: answers.append(change(session)))
    with rig.db.transaction() as connection:
        connection.execute(
            text("UPDATE users SET disabled_at = clock_timestamp() WHERE login = :it"),
            {"it": login},
        )
        changing.start()
        eventually(
            lambda: rig.rows(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND query LIKE 'UPDATE users SET password_hash%'"
            )
        )
    changing.join(PATIENCE)

    assert [refused(one) for one in answers] == [(403, "wrong_password")]
    [row] = rig.rows("SELECT password_hash FROM users WHERE login = :it", it=login)
    assert row.password_hash == before


def test_without_sign_in_there_is_no_password(web: Web) -> None:
    body = {"current": PASSWORD, "new": ANOTHER}
    answer = httpx2.post(f"{web.url}/api/user/password", json=body)
    assert refused(answer) == (404, "not_found")
