"""Turns: how many of a user's questions go to the workers at a time, and which comes next."""

import os
import uuid
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import NotFound
from shared.lifecycle import Status
from shared.store import (
    accounts,
    admin_queries,
    asking,
    conversations,
    deletion,
    messages,
    owning,
    reaping,
    stopping,
    turns,
)
from shared.store.ending import Ending
from shared.store.turns import Turns
from tests.store_fixtures import ME, Store, at_once, body_of, save_of

TWO = Turns(running=2, queue_deadline=60)
DONE = Ending(Status.DONE, "stop")


def asked(store: Store, user: uuid.UUID, number: int, running: int = 2) -> list[asking.Asked]:
    return [store.ask(user, running=running) for _ in range(number)]


def finish(store: Store, claim: owning.Claim) -> list[uuid.UUID]:
    done = owning.finish(store.db, ME, save_of(claim, body_of("So.")), DONE, TWO)
    assert done is not None
    return list(done.questions)


def waiting(store: Store) -> list[uuid.UUID]:
    rows = store.db.rows("SELECT id FROM messages WHERE dispatch_at = 'infinity' ORDER BY seq")
    return [row.id for row in rows]


def test_questions_beyond_the_limit_wait_and_others_are_not_affected(store: Store) -> None:
    user = store.user()

    found = asked(store, user, 4)

    assert [one.waits for one in found] == [False, False, True, True]
    assert waiting(store) == [one.answer.id for one in found[2:]]
    assert {one.answer.status for one in found} == {Status.SENDING}
    assert not store.ask(running=2).waits


def test_without_a_limit_nothing_waits(store: Store) -> None:
    assert not any(one.waits for one in asked(store, store.user(), 5, running=0))


def test_a_waiting_question_is_neither_dispatched_nor_expired(store: Store) -> None:
    *_, last = asked(store, store.user(), 3)
    store.run("UPDATE messages SET created_at = now() - interval '1 day' WHERE status = 'SENDING'")

    assert reaping.expire(store.db) == []
    assert last.answer.id not in reaping.undispatched(store.db)
    assert turns.give(store.db, TWO) == []


def test_who_ends_an_answer_gives_the_next_its_turn_in_order(store: Store) -> None:
    user = store.user()
    ids = [one.answer.id for one in asked(store, user, 5)]
    first, second = store.claim(ids[0]), store.claim(ids[1])

    assert finish(store, first) == [ids[2]]
    assert finish(store, second) == [ids[3]]

    assert waiting(store) == [ids[4]]
    [row] = store.db.rows(
        "SELECT queue_deadline - clock_timestamp() AS taken, dispatch_at - clock_timestamp()"
        " AS again FROM messages WHERE id = :id",
        id=ids[2],
    )
    assert 50 < row.taken.total_seconds() <= 60  # counted from its turn
    assert 0 < row.again.total_seconds() <= turns.DISPATCH_AFTER
    # should the queue lose it
    store.make_overdue(ids[2], "dispatch_at")
    assert reaping.undispatched(store.db) == [ids[2]]


def test_an_end_calls_nobody_while_as_many_as_allowed_are_with_the_workers(store: Store) -> None:
    user = store.user()
    before = asked(store, user, 4, running=0)  # the limit was higher
    last = store.ask(user, running=2)

    assert finish(store, store.claim(before[0].answer.id)) == []
    assert finish(store, store.claim(before[1].answer.id)) == []
    assert finish(store, store.claim(before[2].answer.id)) == [last.answer.id]


def test_ends_at_the_same_moment_call_as_many_questions(store: Store) -> None:
    user, limit = store.user(), 4
    ids = [one.answer.id for one in asked(store, user, 12, running=limit)]
    claims = [store.claim(one) for one in ids[:limit]]
    rule = Turns(limit, 60)

    done, errors = at_once(
        limit,
        lambda n: owning.finish(store.db, ME, save_of(claims[n], body_of("So.")), DONE, rule),
    )

    assert errors == []
    called = {one for finished in done if finished for one in finished.questions}
    # those that saw each other's row still open called fewer: a sweep makes up for it
    called |= set(turns.give(store.db, rule))
    assert called == set(ids[limit : 2 * limit])
    assert waiting(store) == ids[2 * limit :]


@pytest.mark.parametrize("how", ["stopped", "deleted", "expired", "lost"])
def test_a_sweep_gives_the_turns_that_nobody_gave(store: Store, how: str) -> None:
    user = store.user()
    found = asked(store, user, 4)
    first, *_ = (one.answer for one in found)
    if how == "stopped":
        stopping.stop(store.db, first.id, user)
    elif how == "deleted":
        conversations.delete(store.db, user, first.conversation_id)
    elif how == "expired":
        store.make_overdue(first.id, "queue_deadline")
    else:
        claim = store.claim(first.id)
        store.publish(claim, body_of("So."))
        store.make_overdue(first.id, "lease_until")

    store.sweep(turns=TWO).run()

    assert store.queue.ids == [found[2].answer.id]
    assert waiting(store) == [found[3].answer.id]


def test_a_sweep_without_a_limit_gives_every_turn(store: Store) -> None:
    found = asked(store, store.user(), 6)

    store.sweep(turns=Turns(0, 60)).run()

    assert store.queue.ids == [one.answer.id for one in found[2:]]
    assert waiting(store) == []


def test_a_waiting_question_can_be_stopped(store: Store) -> None:
    user = store.user()
    *_, last = asked(store, user, 3)

    assert stopping.stop(store.db, last.answer.id, user) == Status.SENDING

    assert store.row(last.answer.id).status == "CANCELLED"
    assert waiting(store) == []


def test_the_age_of_the_queue_is_that_of_questions_that_workers_could_take(store: Store) -> None:
    found = asked(store, store.user(), 3)
    for one in found[:2]:
        store.claim(one.answer.id)

    assert admin_queries.oldest_waiting(store.db) == 0
    assert admin_queries.totals(store.db, 60).oldest_waiting == 0
    assert admin_queries.totals(store.db, 60).waiting == 1


def test_a_retry_and_a_continuation_wait_too(store: Store) -> None:
    user = store.user()
    answer = store.ended(user, Ending(Status.DONE, "length"))
    asked(store, user, 2)
    terms = store.asking(user, running=2)

    again = asking.ask_again(store.db, terms, answer)
    more = asking.ask_to_continue(store.db, terms, answer, body_of("Go on."))

    assert (again.waits, more.waits) == (True, True)


def test_a_jump_of_the_clock_leaves_a_waiting_question_waiting(store: Store) -> None:
    found = asked(store, store.user(), 3)
    store.run("UPDATE messages SET created_at = now() + interval '1 day' WHERE role = 'assistant'")
    store.run("UPDATE uptime SET since = now()")  # in doubt: what a jump left is put right

    store.sweep(lease=15).check_clock()

    assert waiting(store) == [found[2].answer.id]
    assert store.db.rows("SELECT 1 FROM messages WHERE created_at > now()") == []


def test_a_disabled_users_waiting_questions_are_cancelled_and_no_others(store: Store) -> None:
    user, other = store.user(), store.user()
    mine, theirs = asked(store, user, 3), asked(store, other, 3)
    accounts.disable(store.db, user)

    swept = store.sweep(turns=TWO).run()

    assert swept.cancelled == 1
    assert [store.row(one.answer.id).status for one in mine] == ["SENDING", "SENDING", "CANCELLED"]
    assert waiting(store) == [theirs[2].answer.id]


# --- without workers ------------------------------------------------------------------------------


def test_a_reader_without_any_worker_sees_a_waiting_question_expire(store: Store) -> None:
    user = store.user()
    queued, lost, last = (one.answer.id for one in asked(store, user, 3))
    store.claim(lost)
    sweep = store.sweep(turns=TWO)
    assert not messages.poll_states(store.db, [last])[last].forgotten  # the others may end
    store.make_overdue(queued, "queue_deadline")
    assert not messages.poll_states(store.db, [last])[last].forgotten
    store.make_overdue(lost, "lease_until")
    assert messages.poll_states(store.db, [last])[last].forgotten

    sweep.sweep_forgotten()

    assert {store.row(queued).error_code, store.row(lost).status} == {"queue_timeout", "SENDING"}
    assert waiting(store) == []
    store.make_overdue(last, "queue_deadline")
    assert messages.poll_states(store.db, [last])[last].lapsed


# --- whatever happens -----------------------------------------------------------------------------

#: What happens, and to which of the user's rows.
Step = tuple[str, int]


class Story:
    """Two users whose questions take turns, a queue that may lose entries, and workers."""

    def __init__(self, store: Store) -> None:
        self.store, self.db = store, store.db
        store.queue.ids.clear()
        self.users = [store.user(), store.user()]
        self.answers: list[uuid.UUID] = []
        self.claims: dict[uuid.UUID, owning.Claim] = {}
        self.sweep = store.sweep(turns=TWO)

    def rows(self, condition: str) -> list[uuid.UUID]:
        """Their answers of which this is true, in the order in which they were asked."""
        found = self.db.rows(
            f"SELECT id FROM messages WHERE id = ANY(CAST(:ids AS uuid[])) AND {condition}"
            " ORDER BY seq",
            ids=[str(one) for one in self.answers],
        )
        return [row.id for row in found]

    def do(self, what: str, pick: int) -> None:
        if what == "ask":
            user = self.users[pick % 2]
            asked = self.store.ask(user, running=2)
            self.answers.append(asked.answer.id)
            if not asked.waits:
                self.store.queue.enqueue(asked.answer.id)
        elif what == "claim":
            if self.store.queue.ids:
                self.take(self.store.queue.ids.pop(0))
        elif what == "lose the queue":
            self.store.queue.ids.clear()
        elif what == "sweep":
            self.pass_time()
            self.sweep.run()
            self.check_places()
        elif what in ON_OPEN:
            found = self.rows(f"status IN ('SENDING', 'STREAMING') AND {ON_OPEN[what]}")
            if found:
                self.to_open(what, found[pick % len(found)])
        elif what == "disable":
            accounts.disable(self.db, self.users[0])
        elif what == "undelete":
            gone = "SELECT id, user_id FROM conversations WHERE deleted_at IS NOT NULL"
            for place in self.db.rows(gone):
                conversations.undelete(self.db, place.user_id, place.id)
        else:
            deletion.begin(self.db, self.users[1], by=None, credential="")

    def to_open(self, what: str, answer: uuid.UUID) -> None:
        """Something that happens to an open answer."""
        row = self.store.row(answer)
        claim = self.claims.get(answer)
        if what in ENDS and claim is not None:
            ending, rule = ENDS[what]
            finished = owning.finish(self.db, ME, save_of(claim, body_of("So.")), ending, rule)
            if finished and "dies" not in what:
                self.store.queue.ids += finished.questions
        elif what == "stop":
            stopping.stop(self.db, answer, row.user_id)
        elif what == "delete":
            with suppress(NotFound):  # it was deleted, and its owner goes on until a sweep
                conversations.delete(self.db, row.user_id, row.conversation_id)
        elif what == "expire":
            self.store.make_overdue(answer, "queue_deadline")
        elif what == "drain" and claim is not None:
            owning.release(self.db, ME, answer, claim.token, 60)
        elif what == "lose its worker, shown" and claim is not None:
            self.store.publish(claim, body_of("So."))
        if what.startswith("lose its worker"):
            self.store.make_overdue(answer, "lease_until")

    def take(self, answer: uuid.UUID) -> None:
        claim = owning.claim(self.db, answer, ME, 60, 900)
        if claim is not None:
            self.claims[answer] = claim
            self.store.open(claim.id, claim.token, claim.attempt)

    def pass_time(self) -> None:
        """What the queue lost is due again."""
        self.store.run(
            "UPDATE messages SET dispatch_at = clock_timestamp() - interval '1 s'"
            " WHERE status = 'SENDING' AND dispatch_at < 'infinity'"
        )

    def check_places(self) -> None:
        """After a sweep nobody waits while there is a place."""
        for row in self.db.rows(
            "SELECT count(*) FILTER (WHERE dispatch_at = 'infinity') AS waiting, count(*) AS number"
            " FROM messages WHERE status IN ('SENDING', 'STREAMING')"
            " AND user_id = ANY(CAST(:users AS uuid[])) GROUP BY user_id",
            users=[str(one) for one in self.users],
        ):
            assert not row.waiting or row.number - row.waiting >= TWO.running

    def go_on(self) -> None:
        """The workers work: all that is open ends, in as many rounds as there are answers."""
        for _ in self.answers:
            self.do("sweep", 0)
            queue, self.store.queue.ids = self.store.queue.ids, []
            for answer in queue:
                self.take(answer)
            for answer in self.rows("status = 'STREAMING'"):
                self.to_open("is done", answer)
            if not self.rows("status IN ('SENDING', 'STREAMING')"):
                return
        raise AssertionError("a question never got its turn")


FAILED = Ending.error("provider_cut")
#: How an owner ends an answer, and whether it gives turns. A worker that dies enqueues nothing.
ENDS = {
    "is done": (DONE, TWO),
    "fails": (FAILED, TWO),
    "is done, the worker dies": (DONE, TWO),
    "is done, by a worker without turns": (DONE, turns.NO_TURNS),
}
#: What may happen to an open answer, and to which.
ON_OPEN = {
    **dict.fromkeys(ENDS, "status = 'STREAMING'"),
    "stop": "true",
    "delete": "true",
    "expire": "status = 'SENDING' AND dispatch_at < 'infinity'",
    "drain": "status = 'STREAMING'",
    "lose its worker": "status = 'STREAMING'",
    "lose its worker, shown": "status = 'STREAMING'",
}
OTHERS = ("ask", "ask", "ask", "claim", "claim", "lose the queue", "sweep", "undelete")
STEPS = st.tuples(st.sampled_from((*OTHERS, *ON_OPEN, "delete user", "disable")), st.integers(0, 5))


@settings(
    max_examples=int(os.environ.get("TURN_STORIES", "10")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=8, max_size=24))
def test_whatever_happens_every_question_gets_its_turn(store: Store, steps: list[Step]) -> None:
    story = Story(store)
    for number in range(6):
        story.do("ask", number)

    for what, pick in steps:
        story.do(what, pick)

    story.go_on()
