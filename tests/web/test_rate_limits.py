"""Rate limits: per user, key and address, asking apart from reading, and where a request stands."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, g, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from local.programs import Web
from scripted import done, finish, say, script
from shared.errors import RateLimited
from shared.secret_token import SERVICE_KEY, SHARE_LINK
from shared.settings import Settings
from tests.client import Client
from tests.credentials import (
    bearer,
    client_with,
    new_key,
    serving_keys,
    sign_in_settings,
    token,
)
from tests.rig import Rig, killing
from tests.store_fixtures import Store
from web import errors
from web.auth import Credential, Principal
from web.errors import BadCredential, SignInFailed
from web.rate_limits import RateLimits, counted_sign_in

HERE = "192.0.2.1"


class Asker:
    """Requests of one user, key and address to an app that has nothing but limits."""

    def __init__(
        self,
        app: Flask,
        address: str = HERE,
        key: uuid.UUID | None = None,
        *,
        guesses: bool = False,
    ) -> None:
        self._client: FlaskClient = app.test_client()
        self.user = uuid.uuid4()
        self._credential = Credential("key", str(key)) if key else Credential("jwt")
        self._address, self._guesses = address, guesses

    def get(self, path: str) -> TestResponse:
        who = None if self._guesses else Principal(self.user, frozenset(), self._credential)
        return self._client.get(
            path, environ_overrides={"REMOTE_ADDR": self._address, "test.principal": who}
        )

    def statuses(self, path: str, number: int) -> list[int]:
        return [self.get(path).status_code for _ in range(number)]


def app_with(store: Store, **rates: str) -> Flask:
    """An app whose routes are named after what they do; rates that are not given are none."""
    app = Flask(__name__)

    none = dict.fromkeys(("ask_rate", "read_rate", "address_rate", "sign_in_rate"), "0")
    settings = Settings.model_validate({"REDIS_URL": store.redis_url, **none, **rates})
    for name in ("ask", "read", "stream", "public"):
        app.add_url_rule(f"/{name}", name, lambda: "x")
    errors.register(app, {})
    limits = RateLimits(app, settings, asking={"ask"}, uncounted={"stream"}, public={"public"})

    @app.before_request
    def let_in() -> None:
        if request.endpoint != "public":
            who = request.environ["test.principal"]
            if who is None:
                raise BadCredential
            g.principal = who

    limits.count_users()
    return app


def test_asking_and_reading_are_counted_apart_and_each_user_alone(store: Store) -> None:
    app = app_with(store, ask_rate="2/day", read_rate="3/day")
    one, other = Asker(app), Asker(app)

    assert one.statuses("/ask", 3) == [200, 200, 429]
    assert one.statuses("/read", 4) == [200, 200, 200, 429]
    assert other.statuses("/ask", 3) == [200, 200, 429]
    assert one.statuses("/stream", 5) == one.statuses("/public", 5) == [200] * 5


def test_a_refusal_says_which_limit_and_when_to_come_back(store: Store) -> None:
    asker = Asker(app_with(store, ask_rate="2/day"))
    first, _, refused = (asker.get("/ask") for _ in range(3))

    assert (first.headers["RateLimit-Limit"], first.headers["RateLimit-Remaining"]) == ("2", "1")
    assert 0 < int(first.headers["RateLimit-Reset"]) <= 86_400
    assert refused.content_type == "application/problem+json"
    problem: Any = refused.get_json()
    assert (problem["status"], problem["code"]) == (429, "rate_limited")
    assert problem["limit"] == "2 per 1 day"
    assert refused.headers["RateLimit-Remaining"] == "0"
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400


def test_a_key_is_counted_for_all_whom_it_asks_for(store: Store) -> None:
    app, key = app_with(store, ask_rate="3/day"), uuid.uuid4()
    one, other, without = Asker(app, key=key), Asker(app, key=key), Asker(app)

    assert one.statuses("/ask", 2) == [200, 200]
    assert other.statuses("/ask", 2) == [200, 429]
    assert without.statuses("/ask", 3) == [200] * 3


@pytest.mark.parametrize(
    ("same", "another"),
    [
        ((HERE, HERE), "192.0.2.2"),
        (("2001:db8::1", "2001:db8:0:0:ffff::9"), "2001:db8:0:1::1"),
    ],
)
def test_an_address_is_counted_for_all_its_users(
    store: Store, same: tuple[str, str], another: str
) -> None:
    app = app_with(store, address_rate="3/day")
    first, second = (Asker(app, address) for address in same)

    assert first.statuses("/ask", 2) == [200, 200]
    assert second.statuses("/read", 2) == [200, 429]
    assert Asker(app, another).statuses("/ask", 3) == [200] * 3


def test_refused_credentials_are_counted_for_their_address(store: Store) -> None:
    app = app_with(store, address_rate="3/day")
    guessing, honest = Asker(app, guesses=True), Asker(app)

    assert guessing.statuses("/read", 2) == [401, 401]
    assert guessing.get("/ask").headers["RateLimit-Remaining"] == "0"
    assert guessing.statuses("/read", 2) == [429, 429]
    # A stream of somebody else at the same address goes on, until credentials are guessed there.
    assert honest.statuses("/stream", 5) == [200] * 5
    assert guessing.statuses("/stream", 5) == [401] * 4 + [429]
    assert honest.statuses("/stream", 1) == [429]
    assert Asker(app, "192.0.2.2", guesses=True).statuses("/read", 1) == [401]
    assert guessing.statuses("/public", 5) == [200] * 5


def test_processes_count_together(store: Store) -> None:
    apps = [app_with(store, ask_rate="4/day") for _ in range(2)]
    one, other = (Asker(app) for app in apps)
    other.user = one.user

    assert one.statuses("/ask", 2) == [200, 200]
    assert other.statuses("/ask", 1) == [200]
    for app in apps:
        assert app.extensions["outlive_rate_limits"].counters.flush()

    assert other.statuses("/ask", 2) == [200, 429]


def test_without_redis_a_process_counts_by_itself(store: Store, nowhere: str) -> None:
    asker = Asker(app_with(store, REDIS_URL=f"redis://{nowhere}/0", ask_rate="2/day"))

    assert asker.statuses("/ask", 3) == [200, 200, 429]


def test_attempts_to_sign_in_are_counted_by_address_and_by_account(store: Store) -> None:
    app = app_with(store, sign_in_rate="2/day")

    def attempt(
        login: str | None, address: str, *, right: bool = False, known: bool = False
    ) -> str:
        with app.test_request_context(environ_base={"REMOTE_ADDR": address}):
            try:
                with counted_sign_in(login, is_known=known):
                    if not right:
                        raise SignInFailed
            except RateLimited as refused:
                return "refused" if refused.retry_after else "refused for ever"
            except SignInFailed:
                return "wrong"
            return "right"

    assert [attempt("ada", f"192.0.2.{n}") for n in (1, 2, 3)] == ["wrong", "wrong", "refused"]
    assert [attempt(name, "192.0.2.9") for name in "abc"] == ["wrong", "wrong", "refused"]
    assert attempt(None, "192.0.2.9") == "refused"
    assert attempt("eve", "192.0.2.10") == "wrong"
    # many people behind one address sign in; one account does not more often for that
    office = [attempt(name, "192.0.2.11", right=True) for name in "defghh"]
    assert office == ["right"] * 6
    assert attempt("h", "192.0.2.12", right=True) == "refused"
    # a browser that the account knows, whatever strangers did
    known = [attempt("ada", "192.0.2.9", right=True, known=True) for _ in range(3)]
    assert known == ["right", "right", "refused"]
    assert not any("ada" in key for key in store.redis.keys("*"))


def test_without_sign_in_nothing_is_counted_unless_a_rate_is_set(store: Store) -> None:
    local = Settings.model_validate({"REDIS_URL": store.redis_url})
    app = Flask(__name__)
    before = (dict(app.before_request_funcs), dict(app.after_request_funcs))
    RateLimits(app, local, asking=(), uncounted=(), public=()).count_users()

    assert (dict(app.before_request_funcs), dict(app.after_request_funcs)) == before
    with app.test_request_context():
        for _ in range(2):
            with counted_sign_in("ada"):
                pass


@pytest.fixture(scope="module")
def limited(rig: Rig) -> Iterator[Web]:
    """A web master with sign-in and a low limit."""
    with serving_keys() as key_server:
        web = rig.web(**sign_in_settings(key_server), OUTLIVE_ASK_RATE="2/day")
        with killing(web):
            yield web


def test_guessed_keys_are_limited_on_every_kind_of_address(rig: Rig) -> None:
    settings = {"OUTLIVE_AUTH": "required", "OUTLIVE_ADDRESS_RATE": "5/day"}
    web = rig.web(**settings, WEB_CONCURRENCY="1")
    with killing(web), Client(web.url) as guessing:

        def guess(path: str, new: Callable[[], str] = SERVICE_KEY.new) -> int:
            return guessing.http.get(path, headers=bearer(new())).status_code

        assert [guess("/api/conversations") for _ in range(8)] == [401] * 5 + [429] * 3
        assert [guess("/api/notices", SHARE_LINK.new) for _ in range(3)] == [404] * 3
        assert [guess("/api/notices") for _ in range(5)] == [401] * 3 + [429] * 2
        assert guess("/api/nothing") == guess("/nothing") == 429
        key, _ = new_key(rig, "read")  # the right one is not checked either
        assert guessing.http.get("/api/usage", headers=bearer(key)).status_code == 429
        assert guessing.http.get("/healthz").status_code == 200


def test_questions_of_a_user_are_limited_and_those_of_another_are_not(
    rig: Rig, limited: Web
) -> None:
    question = script(say("So."), finish(), done())
    key, _ = new_key(rig, "ask")
    people = [client_with(limited, one) for one in (token("many"), token("few"), key)]
    many, few, machine = people
    place = many.conversation()

    answers = [many.post_question(question, place, parent_id=None) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert int(answers[-1].headers["Retry-After"]) > 0
    shown = many.http.get(f"/api/conversations/{place}")
    assert shown.status_code == 200
    assert int(shown.headers["RateLimit-Limit"]) == 1_200
    assert few.post_question(question).status_code == 202
    assert machine.post_question(question).status_code == 202
    usage = machine.http.get("/api/usage").json()
    assert usage["key"]["day"]["limit"] is None
    for person in people:
        person.http.close()
