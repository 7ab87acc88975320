"""What one user may cost the others, on real processes: the cap, duplicates, budgets, turns.

By default with as many requests as CI can afford. The full numbers, about ten minutes:

    RACING_PAIRS=2000 HOG_QUESTIONS=1000 ./outlive test tests/end_to_end/test_limits.py
"""

import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

import pytest

from local.programs import Web, Worker
from scripted import done, finish, hold, pause, say, script, usage
from shared.body import text_body
from shared.jobs import ENQUEUE_SECONDS, Queue, make_app
from shared.settings import Settings
from shared.store import asking, conversations
from shared.store.tables import LOCAL_USER
from tests.client import Client, new_id
from tests.rig import PATIENCE, Rig, eventually, killing
from tests.stories import start_worker, sweep

RACING_PAIRS = int(os.environ.get("RACING_PAIRS", "40"))
HOG_QUESTIONS = int(os.environ.get("HOG_QUESTIONS", "60"))
CAP = 3
BUDGET = 10_000
#: Places of the worker in the story about turns, and how many of them one user may have.
PLACES, RUNNING = 4, 2


@pytest.fixture(scope="module")
def capped(rig: Rig) -> Iterator[Web]:
    """A web master with a cap and a budget."""
    web = rig.web(OUTLIVE_MAX_OPEN=str(CAP), OUTLIVE_DAILY_TOKENS=str(BUDGET))
    with killing(web):
        yield web


@pytest.fixture
def user(rig: Rig, capped: Web) -> Iterator[Client]:
    """A client of it, whose user has used nothing."""
    with rig.db.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM token_use")
    with Client(capped.url) as client:
        yield client


def open_answers(rig: Rig) -> int:
    found = rig.rows(
        "SELECT count(*) AS n FROM messages WHERE user_id = :user"
        " AND status IN ('SENDING', 'STREAMING')",
        user=LOCAL_USER,
    )
    return int(found[0].n)


@pytest.mark.usefixtures("worker")
def test_of_200_questions_at_once_at_most_as_many_as_the_cap_are_ever_open(
    rig: Rig, user: Client
) -> None:
    eventually(lambda: open_answers(rig) == 0)
    places = [str(conversations.create(rig.db, LOCAL_USER, None, None).id) for _ in range(200)]
    question = script(say("So."), pause(0.02), finish(), usage(1, 1), done())
    seen: list[int] = []
    posted = Event()

    def watch() -> None:
        while not posted.is_set():
            seen.append(open_answers(rig))

    watching = Thread(target=watch)
    watching.start()
    try:
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda place: user.post_question(question, place), places))
    finally:
        posted.set()
        watching.join()

    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {202, 429}
    assert statuses.count(202) >= CAP
    assert max(seen) <= CAP
    [refused, *_] = [answer for answer in answers if answer.status_code == 429]
    assert refused.json()["code"] == "too_many_open"
    assert refused.json()["limit"] == CAP
    assert int(refused.headers["Retry-After"]) >= 1
    assert (refused.headers["RateLimit-Limit"], refused.headers["RateLimit-Remaining"]) == (
        str(CAP),
        "0",
    )


@pytest.mark.usefixtures("worker")
def test_two_equal_questions_at_once_are_one_row_and_one_call(
    rig: Rig, web: Web, other_web: Web
) -> None:
    mark = new_id()
    with Client(web.url) as one, Client(other_web.url) as other, ThreadPoolExecutor(16) as pool:

        def pair(number: int) -> str:
            key, place = f"{mark}-{number}", one.conversation()
            question = script(say("So."), finish(), done(), tag=key)
            racing = [
                pool.submit(asker.post_question, question, place, key) for asker in (one, other)
            ]
            answers = [race.result() for race in racing]
            assert [answer.status_code for answer in answers] == [202, 202]
            ids = {answer.json()["assistant"]["id"] for answer in answers}
            assert len(ids) == 1
            one.ended(*ids)
            return key

        with ThreadPoolExecutor(6) as pairs:
            keys = list(pairs.map(pair, range(RACING_PAIRS)))

    [rows] = rig.rows(
        "SELECT count(*) AS number, count(DISTINCT client_key) AS keys FROM messages"
        " WHERE client_key LIKE :mark",
        mark=f"{mark}-%",
    )
    assert (rows.number, rows.keys) == (RACING_PAIRS, RACING_PAIRS)
    calls = rig.scripted.requests(contains=mark)
    assert len(calls) == len(keys) == RACING_PAIRS


def cost_of(row: Any) -> tuple[int, int]:
    """What an answer cost, and how much of it is an estimate, reckoned from its row."""
    told = row.usage if (row.usage or {}).get("source") == "reported" else {}
    prompt = told.get("prompt_tokens") or -(-row.prompt_chars // 4)
    text = told.get("completion_tokens") or -(-row.length // 4)
    guessed = (row.tries - 1) * prompt
    guessed += 0 if "prompt_tokens" in told else prompt
    guessed += 0 if "completion_tokens" in told else text
    return row.tries * prompt + text, guessed


def test_a_budget_is_overrun_by_the_open_answers_at_most_also_when_workers_are_killed(
    rig: Rig, user: Client, no_workers: None
) -> None:
    before, after = new_id(), new_id()
    ending = (finish(), usage(500, 300), done())
    question = script(say("So."), *ending)
    # A worker dies while these are open. Of the first nothing was shown: it begins again.
    dying = [script(hold(before), say("a" * 400), *ending)]
    dying += [script(say("a" * 400), hold(after), *ending, tag=str(n)) for n in range(CAP - 1)]
    victim = start_worker(rig).wait()
    with killing(victim):
        asked = [user.ask(one) for one in dying]
        rig.scripted.wait_held(before)
        rig.scripted.wait_held(after, CAP - 1)
        for answer in asked[1:]:
            user.shown(answer, 400)
    sweep(rig, died=victim.boot)
    rig.scripted.release(before)
    assert {user.message(answer)["error"]["code"] for answer in asked[1:]} == {"worker_lost"}

    worker = start_worker(rig).wait()
    with killing(worker), ThreadPoolExecutor(8) as pool:

        def ask_on(_: int) -> dict[str, Any]:
            while True:
                answer = user.post_question(question)
                if answer.status_code == 202:
                    asked.append(answer.json()["assistant"]["id"])
                elif answer.json()["code"] == "budget_exhausted":
                    return dict(answer.json(), headers=answer.headers)
                else:
                    time.sleep(0.02)

        refusals = list(pool.map(ask_on, range(8)))
        for answer in asked:
            user.ended(answer)
        later = user.post_question(question)

    rows = rig.rows(
        "SELECT * FROM messages WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY ended_at", ids=asked
    )
    costs = [cost_of(row) for row in rows]
    [counted] = rig.rows(
        "SELECT sum(answers) AS answers, sum(input_tokens + output_tokens) AS used,"
        " sum(estimated_tokens) AS estimated FROM token_use WHERE user_id = :user",
        user=LOCAL_USER,
    )
    # Nothing is lost and nothing is counted twice.
    assert (counted.answers, counted.used, counted.estimated) == (
        len(asked),
        sum(cost for cost, _ in costs),
        sum(guess for _, guess in costs),
    )
    assert sorted(row.tries for row in rows)[-2:] == [1, 2]
    # It is overrun by what was open when it was reached: CAP answers, one of which reached it.
    assert BUDGET <= counted.used < BUDGET + CAP * max(cost for cost, _ in costs)
    for refusal in refusals:
        assert (refusal["limit"], refusal["budget"]) == (BUDGET, "user_day")
        assert BUDGET <= refusal["used"] <= counted.used
        headers = refusal["headers"]
        assert 1 <= int(headers["Retry-After"]) <= 86_400
        assert headers["RateLimit-Limit"] == str(BUDGET)
        assert headers["RateLimit-Reset"] == headers["Retry-After"]
    assert later.json()["code"] == "budget_exhausted"

    shown = user.http.get("/api/usage").json()
    assert (shown["day"]["limit"], shown["day"]["used"]) == (BUDGET, counted.used)
    assert (shown["month"]["limit"], shown["month"]["used"]) == (None, counted.used)
    assert shown["key"] is None


# --- turns ----------------------------------------------------------------------------------------


class Person:
    """A user who asks as web does, past HTTP: without sign-in there is only one."""

    def __init__(self, rig: Rig, running: int = RUNNING) -> None:
        self.rig, self.id, self._running = rig, uuid.uuid4(), running
        with rig.db.transaction() as connection:
            connection.exec_driver_sql(f"INSERT INTO users VALUES ('{self.id}', 'p')")
        settings = Settings.model_validate({"REDIS_URL": rig.redis.url})
        self._queue = Queue(make_app(settings, ENQUEUE_SECONDS))

    def ask(self, question: str) -> uuid.UUID:
        terms = asking.Asking(self.id, "scripted", {}, None, None, 0, 600.0, running=self._running)
        place = conversations.create(self.rig.db, self.id, None, None).id
        asked = asking.ask(self.rig.db, terms, place, text_body(question))
        if not asked.waits:
            self._queue.enqueue(asked.answer.id)
        return asked.answer.id

    def count(self, status: str) -> int:
        found = self.rig.rows(
            "SELECT count(*) AS n FROM messages WHERE user_id = :user AND role = 'assistant'"
            " AND status = :status",
            user=self.id,
            status=status,
        )
        return int(found[0].n)


@pytest.fixture
def small_worker(rig: Rig, no_workers: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker with few places."""
    monkeypatch.setenv("OUTLIVE_WORKER_CONCURRENCY", str(PLACES))
    worker = rig.worker(OUTLIVE_MAX_RUNNING=str(RUNNING))
    with killing(worker):
        yield worker


@pytest.mark.usefixtures("small_worker")
def test_the_many_questions_of_one_user_leave_another_users_first_a_place(rig: Rig) -> None:
    hog, other = Person(rig), Person(rig)
    name = new_id()
    held = script(say("So."), hold(name), finish(), done())
    for _ in range(HOG_QUESTIONS):
        hog.ask(held)
    rig.scripted.wait_held(name, RUNNING)

    answer = other.ask(script(say("So."), finish(), done()))

    eventually(lambda: other.count("DONE") == 1)
    assert (hog.count("STREAMING"), hog.count("DONE")) == (RUNNING, 0)
    assert hog.count("SENDING") == HOG_QUESTIONS - RUNNING

    # As its answers end, the others get their turns in order, and all are answered.
    rig.scripted.release(name)
    eventually(lambda: hog.count("DONE") == HOG_QUESTIONS, PATIENCE + HOG_QUESTIONS / 5)
    [row] = rig.rows(
        "SELECT max(late) AS late FROM (SELECT abs(row_number() OVER (ORDER BY seq)"
        " - row_number() OVER (ORDER BY started_at)) AS late FROM messages"
        " WHERE user_id = :user AND role = 'assistant') AS places",
        user=hog.id,
    )
    assert row.late <= PLACES
    assert answer
