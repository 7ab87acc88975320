"""Signing in and out over HTTP: cookies, sessions in Postgres, CSRF, and what an answer reveals.

The file is long because all of it is about one cookie, and shares its accounts and readers.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import httpx2
import pytest
import redis

from local.programs import Web
from tests.client import new_id
from tests.credentials import bearer, new_key
from tests.rig import PATIENCE, Rig, eventually
from tests.signing_in import (
    JSON,
    PASSWORD,
    Session,
    account_id,
    attempt,
    new_account,
    new_address,
    new_session,
    session_of,
    user_command,
)

#: Seconds within which the streams of a session that has ended have to end.
SOON: Final = 2.0
#: Attempts to sign in that are allowed: in a day there, as a minute might begin in a test.
RATE: Final = 5


def token_of(session: Session) -> str:
    return session.headers["Cookie"].partition("outlive_session=")[2].partition(";")[0]


def row_of(rig: Rig, session: Session) -> Any:
    """The session's row; None if there is none."""
    found = rig.rows(
        "SELECT * FROM sessions WHERE token_hash = :hash",
        hash=hashlib.sha256(token_of(session).encode()).hexdigest(),
    )
    return found[0] if found else None


def change(rig: Rig, session: Session, what: str) -> None:
    """Change the session's row."""
    assert rig.rows(
        f"UPDATE sessions SET {what} WHERE id = :id RETURNING id", id=row_of(rig, session).id
    )


def audited(rig: Rig, user: str) -> list[tuple[str, str | None]]:
    """What was noted about a user: the action and the kind of the credential."""
    rows = rig.rows(
        "SELECT action, credential FROM audit"
        " WHERE user_id = CAST(:id AS uuid) OR object_id = :id ORDER BY id",
        id=user,
    )
    return [(row.action, (row.credential or "").partition(" ")[0]) for row in rows]


def refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def guess_until_refused(
    guess: Callable[[], httpx2.Response], wrong: tuple[int, str] = (401, "sign_in_failed")
) -> httpx2.Response:
    """Guess until that is refused: after RATE attempts in all, but two processes count them."""
    for _ in range(2 * RATE + 1):
        answer = guess()
        if answer.status_code == 429:
            assert refused(answer) == (429, "rate_limited")
            return answer
        assert refused(answer) == wrong
    raise AssertionError("guesses are not limited")


# --- signing in ----------------------------------------------------------------------------------


def test_a_login_and_its_password_begin_a_session(required_web: Web, rig: Rig) -> None:
    login = new_account(rig)

    answer = attempt(required_web, f" {login.upper()} ")

    session = session_of(required_web, answer)
    assert session.get("/api/conversations").status_code == 200
    assert session.post("/api/conversations").status_code == 201
    cookies = {one.partition("=")[0]: one for one in answer.headers.get_list("set-cookie")}
    assert "; HttpOnly" in cookies["outlive_session"]
    assert "; HttpOnly" in cookies["outlive_device"]
    assert "; HttpOnly" not in cookies["outlive_csrf"]
    for name, cookie in cookies.items():
        assert "; SameSite=Lax" in cookie
        assert "; Path=/" in cookie
        assert f"; Max-Age={31536000 if name == 'outlive_device' else 2592000}" in cookie
        assert "Domain" not in cookie
        assert "Secure" not in cookie  # the public address is not https here
    assert answer.headers["cache-control"] == "no-store"


def test_only_a_hash_of_the_sessions_secret_is_kept(required_web: Web, rig: Rig) -> None:
    session = new_session(rig, required_web)
    session.get("/api/conversations")

    [kept] = rig.rows("SELECT CAST(jsonb_agg(to_jsonb(s)) AS text) AS rows FROM sessions s")

    assert token_of(session) not in kept.rows
    assert token_of(session) not in rig.logs()
    assert PASSWORD not in rig.logs()


def test_each_sign_in_begins_another_session_and_ends_the_browsers_last(
    required_web: Web, rig: Rig
) -> None:
    login = new_account(rig)
    first = session_of(required_web, attempt(required_web, login))

    second = session_of(required_web, attempt(required_web, login, headers=first.cookie))

    assert token_of(second) != token_of(first)
    assert refused(first.get("/api/conversations")) == (401, "session_ended")
    assert second.get("/api/conversations").status_code == 200


def test_a_planted_cookie_is_not_what_the_session_gets(required_web: Web, rig: Rig) -> None:
    planted = "A" * 43
    cookie = {"Cookie": f"outlive_session={planted}"}

    session = session_of(required_web, attempt(required_web, new_account(rig), headers=cookie))

    assert token_of(session) != planted
    assert refused(httpx2.get(f"{required_web.url}/api/models", headers=cookie))[0] == 401


def test_an_unknown_login_is_answered_like_a_wrong_password(required_web: Web, rig: Rig) -> None:
    login, disabled = new_account(rig), new_account(rig)
    user_command(rig, "disable", disabled)

    answers = [
        attempt(required_web, login, "a wrong password"),
        attempt(required_web, new_id()),
        attempt(required_web, disabled),
        attempt(required_web, "no login at all \x00"),
        attempt(required_web, ""),
    ]

    seen = [
        (one.status_code, one.content, sorted(set(one.headers) - {"date"}), one.headers["server"])
        for one in answers
    ]
    assert seen[0][0] == 401
    assert answers[0].json()["code"] == "sign_in_failed"
    assert "set-cookie" not in answers[0].headers
    assert all(one == seen[0] for one in seen)


def test_attempts_are_limited_for_a_login_whether_it_exists_or_not(
    required_web: Web, rig: Rig
) -> None:
    for login in (new_account(rig), new_id()):
        for _ in range(RATE):
            assert attempt(required_web, login, "x").status_code == 401

        late = guess_until_refused(partial(attempt, required_web, login.upper(), "x"))

        assert 0 < int(late.headers["retry-after"]) <= 86_400


def test_attempts_are_limited_for_an_address(required_web: Web, rig: Rig) -> None:
    here = new_address()

    guess_until_refused(lambda: attempt(required_web, new_id(), address=here))

    assert attempt(required_web, new_account(rig)).status_code == 204


def test_who_has_signed_in_before_is_not_locked_out_by_strangers(
    required_web: Web, rig: Rig
) -> None:
    login, here = new_account(rig), new_address()
    signed_in = attempt(required_web, login, address=here)
    session_of(required_web, signed_in).sign_out()
    device = {"Cookie": f"outlive_device={signed_in.cookies['outlive_device']}"}
    guess_until_refused(lambda: attempt(required_web, login, "x"))
    guess_until_refused(lambda: attempt(required_web, new_id(), address=here))

    assert attempt(required_web, login, headers=device, address=here).status_code == 204
    # guesses from there are limited, too
    guess_until_refused(lambda: attempt(required_web, login, "x", headers=device))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"login": "ann"}, 422),
        ({"login": "ann", "password": PASSWORD, "next": "/"}, 422),
        ({"login": ["ann"], "password": PASSWORD}, 422),
        ({"login": "ann", "password": None}, 422),
        ({"login": "ann", "password": "x" * 4_001}, 422),
        ({"login": "x" * 1_001, "password": PASSWORD}, 422),
        ({"login": "ann", "password": "\ud800" * 9}, 422),
    ],
)
def test_another_shape_is_refused_without_being_repeated(
    required_web: Web, body: dict[str, Any], status: int
) -> None:
    answer = httpx2.post(
        f"{required_web.url}/api/sign-in", content=json.dumps(body), headers=JSON, timeout=PATIENCE
    )

    assert refused(answer) == (status, "invalid")
    assert PASSWORD not in answer.text


def test_attempts_are_audited_without_what_was_typed(required_web: Web, rig: Rig) -> None:
    login, unknown = new_account(rig), new_id()
    user = account_id(rig, login)
    attempt(required_web, login, "a wrong password")
    attempt(required_web, unknown)
    session_of(required_web, attempt(required_web, login)).sign_out()

    assert audited(rig, user) == [
        ("user_added", "command"),
        ("sign_in_failed", "password"),
        ("sign_in", "password"),
        ("sign_out", "session"),
    ]
    [everything] = rig.rows("SELECT CAST(jsonb_agg(to_jsonb(a)) AS text) AS rows FROM audit a")
    assert unknown not in everything.rows
    assert login not in everything.rows


# --- sessions ------------------------------------------------------------------------------------


def test_a_session_ends_after_the_time_without_use_and_after_the_longest_time(
    required_web: Web, rig: Rig
) -> None:
    session = new_session(rig, required_web)
    row = row_of(rig, session)
    assert (row.expires_at - row.created_at).days in (6, 7)
    change(rig, session, "expires_at = clock_timestamp()")

    # a process that asked before is sure of it for a minute, so ask with one that did not
    assert refused(session.get("/api/conversations")) == (401, "session_ended")


def test_use_moves_the_end_once_a_minute_and_not_beyond_the_longest_time(
    required_web: Web, rig: Rig
) -> None:
    session, other = new_session(rig, required_web), new_session(rig, required_web)
    before = row_of(rig, session)
    change(rig, other, "created_at = now() - interval '29 days', seen_at = now() - interval '2 h'")
    session.get("/api/conversations")
    other.get("/api/conversations")

    eventually(lambda: row_of(rig, other).seen_at > row_of(rig, session).created_at)

    moved = row_of(rig, other)
    assert (moved.expires_at - moved.created_at).days == 30
    assert row_of(rig, session) == before


def test_sessions_survive_a_redis_that_loses_everything(required_web: Web, rig: Rig) -> None:
    session = new_session(rig, required_web)
    with redis.Redis.from_url(rig.redis.url) as server:
        assert server.flushall()

    assert {session.get("/api/models").status_code for _ in range(8)} == {200}
    assert session.post("/api/conversations").status_code == 201


def test_signing_out_ends_the_session_for_good(required_web: Web, rig: Rig) -> None:
    session = new_session(rig, required_web)
    assert session.get("/api/conversations").status_code == 200

    answer = session.sign_out()

    assert answer.status_code == 204
    assert {"outlive_session=;", "outlive_csrf=;"} == {
        one.partition(" ")[0] for one in answer.headers.get_list("set-cookie")
    }
    assert row_of(rig, session) is None
    # in whichever process
    eventually(
        lambda: {session.get("/api/conversations").status_code for _ in range(8)} == {401}, SOON
    )
    assert refused(session.sign_out()) == (401, "session_ended")


def test_signing_out_everywhere_ends_all_sessions_of_the_user(required_web: Web, rig: Rig) -> None:
    login, another = new_account(rig), new_session(rig, required_web)
    ones = [session_of(required_web, attempt(required_web, login)) for _ in range(3)]

    assert ones[0].sign_out(everywhere=True).status_code == 204

    eventually(lambda: {one.get("/api/models").status_code for one in ones} == {401}, SOON)
    assert another.get("/api/models").status_code == 200


@contextmanager
def stream(session: Session, path: str = "/api/notices") -> Iterator[threading.Thread]:
    """A stream of the session that is read to its end."""
    began = threading.Event()

    def read() -> None:
        url = session.url + path
        with httpx2.stream("GET", url, headers=session.cookie, timeout=60) as answer:
            assert answer.status_code == 200
            for _ in answer.iter_raw():
                began.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert began.wait(PATIENCE)
    yield thread


def ends_within(seconds: float, *threads: threading.Thread) -> bool:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def test_the_streams_of_a_session_end_when_it_is_signed_out(required_web: Web, rig: Rig) -> None:
    login = new_account(rig)
    session, other = (session_of(required_web, attempt(required_web, login)) for _ in range(2))
    with (
        stream(session) as one,
        stream(session) as two,
        stream(session) as three,
        stream(other) as kept,
    ):
        session.sign_out()

        assert ends_within(SOON, one, two, three)
        assert kept.is_alive()
        other.sign_out()
        assert ends_within(SOON, kept)


@pytest.mark.parametrize("command", ["disable", "passwd"])
def test_the_streams_of_a_user_end_when_they_are_disabled_or_get_another_password(
    required_web: Web, rig: Rig, command: str
) -> None:
    login = new_account(rig)
    session = session_of(required_web, attempt(required_web, login))
    with stream(session) as one, stream(session) as two:
        done = user_command(rig, command, login, typed="another password\n")
        assert done.exit_code == 0, done.output

        assert ends_within(SOON, one, two)
    assert refused(session.get("/api/models")) == (401, "session_ended")
    assert refused(attempt(required_web, login)) == (401, "sign_in_failed")
    again = attempt(required_web, login, "another password").status_code
    assert again == (401 if command == "disable" else 204)


def test_a_session_is_its_users_only(required_web: Web, rig: Rig) -> None:
    mine, theirs = new_session(rig, required_web), new_session(rig, required_web)
    conversation = mine.post("/api/conversations").json()["id"]

    assert mine.get(f"/api/conversations/{conversation}").status_code == 200
    assert theirs.get(f"/api/conversations/{conversation}").status_code == 404


def test_a_cookie_does_not_forgive_a_bad_token_and_is_not_used_beside_a_good_one(
    required_web: Web, rig: Rig
) -> None:
    session = new_session(rig, required_web)
    key, _ = new_key(rig, "read")

    assert refused(session.get("/api/models", **bearer("nonsense")))[0] == 401
    assert refused(session.post("/api/conversations", **bearer(key))) == (403, "insufficient_scope")
    assert refused(session.post("/api/sign-out", **bearer(key))) == (422, "no_session")


@pytest.mark.parametrize("cookie", ["", "x", "A" * 43, "A" * 4_000, '"\\000"', "ä"])
def test_a_cookie_that_is_no_session_is_refused(required_web: Web, cookie: str) -> None:
    headers = {b"Cookie": b"outlive_session=" + cookie.encode()}

    answer = httpx2.get(f"{required_web.url}/api/models", headers=headers)

    assert refused(answer) == (401, "session_ended")


# --- other sites ---------------------------------------------------------------------------------


def test_what_changes_something_needs_the_sessions_csrf_token(required_web: Web, rig: Rig) -> None:
    session, other = new_session(rig, required_web), new_session(rig, required_web)
    wrong = ["", "0" * 64, "ä", other.headers["Outlive-CSRF"]]

    answers = [
        httpx2.post(
            f"{session.url}{path}",
            json={},
            headers={
                b"Cookie": session.headers["Cookie"].encode(),
                **({b"Outlive-CSRF": token.encode()} if token else {}),
            },
        )
        for path in ("/api/conversations", "/api/sign-out")
        for token in wrong
    ]

    assert {refused(one) for one in answers} == {(403, "csrf_failed")}
    assert session.get("/api/conversations").json()["items"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_sites_page_can_neither_sign_in_nor_out(
    required_web: Web, rig: Rig, headers: dict[str, str]
) -> None:
    login = new_account(rig)
    session = new_session(rig, required_web)

    assert refused(attempt(required_web, login, headers=headers)) == (403, "cross_site")
    assert refused(session.post("/api/sign-out", **headers)) == (403, "cross_site")
    assert session.get("/api/models").status_code == 200


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""]
)
def test_what_a_form_can_send_does_not_sign_in(required_web: Web, rig: Rig, kind: str) -> None:
    body = json.dumps({"login": new_account(rig), "password": PASSWORD})
    headers = {"Content-Type": kind} if kind else {}

    answer = httpx2.post(f"{required_web.url}/api/sign-in", content=body, headers=headers)

    assert refused(answer) == (415, "unsupported_media_type")


# --- pages ---------------------------------------------------------------------------------------

HTML: Final = {"Accept": "text/html,application/xhtml+xml"}


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/", "/sign-in"),
        ("/c/0000-4000", "/sign-in?next=/c/0000-4000"),
        ("/c/x?leaf=1", "/sign-in?next=/c/x%3Fleaf%3D1"),
        ("/nowhere", "/sign-in?next=/nowhere"),
        ("//evil.example/", "/sign-in?next=/evil.example/"),  # on this host
        ("/live", "/sign-in?next=/live"),
        ("/api/docs", "/sign-in?next=/api/docs"),
    ],
)  # fmt: skip
def test_a_browser_without_a_session_is_sent_to_the_sign_in_page(
    required_web: Web, path: str, to: str
) -> None:
    with httpx2.Client(headers=HTML) as http:
        answer = http.get(f"{required_web.url}{path}")
        ended = http.get(f"{required_web.url}{path}", headers={"Cookie": "outlive_session=x"})

    assert (answer.status_code, answer.headers["location"]) == (302, to)
    assert (ended.status_code, ended.headers["location"]) == (302, to)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/conversations", HTML),
        ("/", {"Accept": "*/*"}),
        ("/", HTML | {"Sec-Fetch-Mode": "cors"}),
        ("/", HTML | bearer("nonsense")),
    ],
)
def test_what_is_no_browser_showing_a_page_gets_the_401(
    required_web: Web, path: str, headers: dict[str, str]
) -> None:
    answer = httpx2.get(f"{required_web.url}{path}", headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/%09/evil.example",
        "/\t/evil.example",
        "///evil.example",
        "evil.example",
        "/@evil.example",
        "/c/x\r\nX: y",
        "/sign-in?next=/",
        "/" + "x" * 600,
    ],
)
def test_the_sign_in_page_leads_nowhere_else(required_web: Web, elsewhere: str) -> None:
    answer = httpx2.get(f"{required_web.url}/sign-in", params={"next": elsewhere})

    assert answer.status_code == 200
    assert 'data-next="/"' in answer.text


def test_the_sign_in_page_needs_nothing_and_has_a_strict_policy(required_web: Web) -> None:
    answer = httpx2.get(f"{required_web.url}/sign-in", params={"next": "/c/x?leaf=1"})

    assert 'data-next="/c/x?leaf=1"' in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert httpx2.get(f"{required_web.url}/static/sign-in.js").status_code == 200


def test_the_page_says_who_is_signed_in_and_is_not_kept(required_web: Web, rig: Rig) -> None:
    login = new_account(rig, "--name", "<b>Ann & Co</b>")
    session = session_of(required_web, attempt(required_web, login))

    answer = session.get("/", **HTML)

    assert "&lt;b&gt;Ann &amp; Co&lt;/b&gt;" in answer.text
    assert "<b>Ann" not in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_without_sign_in_there_is_nothing_to_sign_in_to(web: Web) -> None:
    assert httpx2.get(f"{web.url}/sign-in").status_code == 404
    body = {"login": "ann", "password": PASSWORD}
    assert refused(httpx2.post(f"{web.url}/api/sign-in", json=body)) == (404, "not_found")
    assert refused(httpx2.post(f"{web.url}/api/sign-out")) == (404, "not_found")
    page = httpx2.get(web.url)
    assert 'id="sign-out"' not in page.text
    assert page.headers["cache-control"] == "no-cache"  # so Back is instant
