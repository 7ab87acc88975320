"""R5 and R6 as a whole: what a dead owner left is ended with all that was shown, or begun again."""

import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from structlog.testing import capture_logs

from local.redis import Redis
from shared import awake, sweep
from shared.body import Body
from shared.bus.keys import message_channel
from shared.bus.livelog import LiveLog
from shared.bus.publishing import Publication, PublishResult
from shared.lifecycle import MAX_TRIES, Status
from shared.store import conversations, messages, owning, stopping
from shared.store.ending import Ending
from shared.store.owning import Claim
from shared.store.turns import Turns
from shared.sweep import Swept
from tests.store_fixtures import ME, OTHER, Store, at_once, body_of, save_of

DONE = Ending(Status.DONE, "stop")
TEXT = body_of(("reasoning", "Hm 😀."), "It is ", ("tool_call", '{"é":1}'), "so. 𝄞")


def lapse(store: Store, claim: Claim) -> None:
    store.make_overdue(claim.id, "lease_until")


def end(store: Store, claim: Claim) -> tuple[str, str | None, str]:
    """Status, code and content of the ended row."""
    row = store.row(claim.id)
    body = messages.load(store.db, claim.id, row.user_id, deleted=True).body
    assert row.length == body.length
    return row.status, row.error_code, body.content


def up_to(body: Body, position: int) -> Body:
    return Body(
        delta._replace(text=delta.text[: position - delta.start])
        for delta in body.since(0)
        if delta.start < position
    )


# --- what was shown is kept -----------------------------------------------------------------------


@pytest.mark.parametrize("saved", [0, 3, 6, 12, 15, TEXT.length])
def test_published_text_that_was_not_saved_is_salvaged(store: Store, saved: int) -> None:
    claim = store.streaming()
    store.publish(claim, TEXT)
    store.save(claim, up_to(TEXT, saved))
    lapse(store, claim)

    assert store.sweep().run() == Swept(ended=1)

    assert end(store, claim) == ("ERROR", "worker_lost", TEXT.content)
    row = store.row(claim.id)
    assert messages.load(store.db, claim.id, row.user_id).body.since(0) == TEXT.since(0)


def test_entries_may_overlap_with_each_other_and_with_what_is_saved(store: Store) -> None:
    claim = store.streaming()
    for start, stop in ((0, 4), (2, 9), (0, 12), (11, TEXT.length)):
        deltas = up_to(TEXT, stop).since(start)
        store.publish_all([Publication(claim.id, claim.token, 1, deltas, 0)])
    store.save(claim, up_to(TEXT, 5))
    lapse(store, claim)

    store.sweep().run()

    assert end(store, claim) == ("ERROR", "worker_lost", TEXT.content)


def test_a_trimmed_log_continues_what_is_saved(store: Store) -> None:
    claim = store.streaming()
    store.publish(claim, up_to(TEXT, 7))
    store.save(claim, up_to(TEXT, 7))
    store.publish(claim, TEXT, start=7, trim=7)
    lapse(store, claim)

    store.sweep().run()

    assert end(store, claim) == ("ERROR", "worker_lost", TEXT.content)


def test_text_after_a_gap_is_not_salvaged(store: Store) -> None:
    claim = store.streaming()
    store.save(claim, up_to(TEXT, 3))
    store.redis.flushdb()
    force = Publication(claim.id, claim.token, 1, TEXT.since(8), 0, force=True)
    assert store.publish_all([force]) == [PublishResult.WRITTEN]
    lapse(store, claim)

    store.sweep().run()

    assert end(store, claim) == ("ERROR", "worker_lost", TEXT.content[:3])


def test_followers_are_woken_and_the_log_expires_soon(store: Store) -> None:
    claim = store.streaming()
    store.publish(claim, TEXT)
    lapse(store, claim)
    subscription = store.livelog.subscription()
    subscription.subscribe(message_channel(claim.id))
    subscription.listen(5)

    store.sweep().run()

    received = subscription.listen(5)
    subscription.close()
    assert received is not None
    assert (received.kind, received.payload) == ("message", "{}")
    assert end(store, claim)[0] == "ERROR"


# --- who is swept ---------------------------------------------------------------------------------


def test_an_owner_that_renews_is_left_alone(store: Store) -> None:
    claim = store.streaming()
    lapse(store, claim)
    store.save(claim, Body())

    assert store.sweep().run() == Swept()

    assert store.row(claim.id).status == "STREAMING"
    assert store.publish(claim, TEXT) == PublishResult.WRITTEN


def test_soon_after_a_start_of_postgres_only_the_seen_dead_are_swept(store: Store) -> None:
    claim = store.streaming(owner="host:dead")
    store.publish(claim, TEXT)
    lapse(store, claim)

    assert store.sweep(lease=1e6).run() == Swept()
    assert store.sweep(lease=1e6).run(died="other") == Swept()
    assert store.sweep(lease=1e6).run(died="dead") == Swept(ended=1)


def test_a_worker_that_was_seen_to_die_is_not_waited_for(store: Store) -> None:
    dead, alive = store.streaming(owner="host:dead"), store.streaming(owner="host:alive")
    store.publish(dead, TEXT)

    assert store.sweep().run(died="dead") == Swept(ended=1)

    assert end(store, dead) == ("ERROR", "worker_lost", TEXT.content)
    assert store.row(alive.id).status == "STREAMING"


@pytest.mark.parametrize("who", ["Postgres", "this process", "a statement"])
def test_after_a_silence_no_lease_counts_as_lapsed_for_one_lease(
    store: Store, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    lease = 0.2 if who == "a statement" else 50.0
    claim, waiting, seen_dead = store.streaming(), store.sending(), store.streaming(owner=OTHER)
    for one in (claim, seen_dead):
        store.publish(one, TEXT)
        lapse(store, one)
    store.make_overdue(waiting, "queue_deadline")
    store.run("UPDATE uptime SET since = clock_timestamp() - interval '1 h'")
    store.run("UPDATE messages SET dispatch_at = clock_timestamp() + interval '1 h'"
               " WHERE status = 'SENDING'")  # fmt: skip
    round_of_sweep = store.sweep(lease)
    if who == "Postgres":
        round_of_sweep.doubt()
    elif who == "this process":
        clock = awake.Clock()
        monkeypatch.setattr(awake, "_clock", clock)
        clock.tick()
        clock._pauses.appendleft((time.monotonic(), 60.0))
    else:
        monkeypatch.setattr(sweep, "QUICK", 0.0)
        monkeypatch.setattr(sweep, "UNNOTICED", 0.0)

    assert round_of_sweep.run() == Swept()
    round_of_sweep.sweep_message(claim.id)
    assert store.row(claim.id).status == "STREAMING"
    assert store.row(waiting).status == "SENDING"
    # but a worker that was seen to die is dead, even for a sweep that slept
    assert round_of_sweep.run(died=OTHER.partition(":")[2]).ended == 1
    assert end(store, seen_dead)[:2] == ("ERROR", "worker_lost")


def test_a_row_that_its_last_statement_still_holds_is_swept_too(store: Store) -> None:
    # given: Postgres is still at what the dead worker had sent for one of its answers
    held, free = sorted((store.streaming(owner="host:dead") for _ in "12"), key=lambda one: one.id)
    one_swept = Event()
    sweep = store.sweep(observe=lambda action: one_swept.set())

    with ThreadPoolExecutor(1) as pool:
        with store.locked(held.id):
            swept = pool.submit(sweep.run, "dead")
            assert one_swept.wait(10)  # the other one was swept, so this one was tried

        assert swept.result(10) == Swept(restarted=2, dispatched=2)
    assert store.row(held.id).status == store.row(free.id).status == "SENDING"


def test_past_the_hard_deadline_a_living_owner_is_swept_too(store: Store) -> None:
    claim = store.streaming()
    store.publish(claim, TEXT)
    store.make_overdue(claim.id, "hard_deadline")

    store.sweep().run()

    assert end(store, claim) == ("ERROR", "deadline", TEXT.content)


@pytest.mark.parametrize("shown", [True, False])
def test_a_lapsed_answer_with_stop_requested_is_cancelled(store: Store, shown: bool) -> None:
    user = store.user()
    claim = store.streaming(user)
    if shown:
        store.publish(claim, TEXT)
    stopping.stop(store.db, claim.id, user)
    store.make_overdue(claim.id, "lease_until", "hard_deadline")

    assert store.sweep().run() == Swept(ended=1)

    assert end(store, claim) == ("CANCELLED", None, TEXT.content if shown else "")


def test_a_deleted_conversations_answer_is_cancelled(store: Store) -> None:
    user = store.user()
    claim = store.streaming(user)
    store.publish(claim, TEXT)
    conversations.delete(store.db, user, store.row(claim.id).conversation_id)
    lapse(store, claim)

    store.sweep().run()

    assert end(store, claim) == ("CANCELLED", None, TEXT.content)


def test_a_reader_can_have_the_message_it_waits_for_swept(store: Store) -> None:
    claim, other = store.streaming(), store.streaming()
    store.publish(claim, TEXT)
    store.publish(other, TEXT)
    lapse(store, claim)
    lapse(store, other)
    expired = store.sending()
    store.make_overdue(expired, "queue_deadline")

    store.sweep().sweep_message(claim.id)

    assert end(store, claim) == ("ERROR", "worker_lost", TEXT.content)
    assert store.row(other.id).status == "STREAMING"
    assert store.row(expired).error_code == "queue_timeout"


def test_many_sweeps_at_once_end_each_row_once(store: Store) -> None:
    claims = [store.streaming() for _ in range(20)]
    for claim in claims:
        store.publish(claim, TEXT)
        lapse(store, claim)

    swept, errors = at_once(5, lambda _: store.sweep().run())

    assert errors == []
    assert sum(one.ended for one in swept) == len(claims)
    assert {end(store, claim) for claim in claims} == {("ERROR", "worker_lost", TEXT.content)}


def test_each_action_is_observed_by_name(store: Store) -> None:
    observed: list[str] = []
    ended, restarted = store.streaming(), store.streaming()
    store.publish(ended, TEXT)
    lapse(store, ended)
    lapse(store, restarted)
    store.make_overdue(store.sending(), "queue_deadline")

    swept = sweep.Sweep(
        store.db, store.livelog, store.queue, lease=0, turns=Turns(0, 60), observe=observed.append
    ).run()

    assert swept == Swept(ended=1, restarted=1, expired=1, dispatched=1)
    assert sorted(observed) == ["dispatched", "ended", "expired", "restarted"]


# --- beginning again ------------------------------------------------------------------------------


def test_an_answer_that_was_provably_never_shown_restarts_at_once(store: Store) -> None:
    claim = store.streaming()
    lapse(store, claim)

    assert store.sweep().run() == Swept(restarted=1, dispatched=1)

    assert store.queue.ids == [claim.id]
    again = store.claim(claim.id, OTHER)
    assert store.publish(again, TEXT) == PublishResult.WRITTEN
    assert owning.finish(store.db, OTHER, save_of(again, TEXT), DONE)
    assert end(store, claim) == ("DONE", None, TEXT.content)


def test_the_third_claim_is_the_last(store: Store) -> None:
    claim = store.streaming()
    for _ in range(MAX_TRIES - 1):
        lapse(store, claim)
        assert store.sweep().run().restarted == 1
        claim = store.claim(claim.id)
    lapse(store, claim)

    assert store.sweep().run() == Swept(ended=1)

    assert end(store, claim) == ("ERROR", "worker_lost", "")
    assert store.row(claim.id).tries == MAX_TRIES


def test_one_published_character_is_enough_not_to_begin_again(store: Store) -> None:
    claim = store.streaming()
    store.publish(claim, body_of("x"))
    lapse(store, claim)

    assert store.sweep().run() == Swept(ended=1)

    assert end(store, claim) == ("ERROR", "worker_lost", "x")


def test_past_the_hard_deadline_nothing_begins_again(store: Store) -> None:
    claim = store.streaming()
    store.make_overdue(claim.id, "hard_deadline")

    store.sweep().run()

    assert end(store, claim) == ("ERROR", "deadline", "")


@pytest.mark.parametrize("story", ["the log is gone", "the log was never opened", "older attempt"])
def test_a_missing_log_does_not_prove_that_nothing_was_shown(store: Store, story: str) -> None:
    if story == "older attempt":
        message_id = store.streaming().id
        store.make_overdue(message_id, "lease_until")
        store.sweep().run()
    else:
        message_id = store.sending()
    claim = owning.claim(store.db, message_id, ME, 60, 900)
    assert claim is not None  # and Redis did not take its open
    if story == "the log is gone":
        store.open(claim.id, claim.token, claim.attempt)
        store.redis.flushdb()
    lapse(store, claim)

    assert store.sweep().run() == Swept(ended=1)

    assert end(store, claim) == ("ERROR", "worker_lost", "")


def test_an_answer_that_was_published_and_lost_does_not_begin_again(store: Store) -> None:
    claim = store.streaming()
    store.publish(claim, TEXT)
    store.redis.flushdb()
    lapse(store, claim)

    store.sweep().run()

    assert end(store, claim) == ("ERROR", "worker_lost", "")


def test_a_sweep_that_died_between_fence_and_commit_is_repeated(store: Store) -> None:
    claim = store.streaming()
    lapse(store, claim)
    store.livelog.fence(claim.id, claim.token, claim.attempt)  # and then it died

    assert store.sweep().run() == Swept(restarted=1, dispatched=1)

    assert store.claim(claim.id).attempt == 3


def test_a_sweep_salvages_the_text_that_a_dead_sweep_had_fenced(store: Store) -> None:
    claim = store.streaming()
    store.publish(claim, TEXT)
    lapse(store, claim)
    store.livelog.fence(claim.id, claim.token, claim.attempt)

    store.sweep().run()

    assert end(store, claim) == ("ERROR", "worker_lost", TEXT.content)


def test_a_message_given_back_and_taken_again_is_judged_by_its_last_attempt(
    store: Store,
) -> None:
    claim = store.streaming()
    assert owning.release(store.db, ME, claim.id, claim.token, 60)
    again = store.claim(claim.id, OTHER)
    lapse(store, again)

    assert store.sweep().run().restarted == 1

    last = store.claim(claim.id)
    store.publish(last, TEXT)
    lapse(store, last)
    assert store.sweep().run().ended == 1


# --- the zombie -----------------------------------------------------------------------------------


@pytest.mark.parametrize("story", ["ended", "begun again", "taken by another"])
def test_an_owner_that_was_swept_can_write_nothing_anywhere(store: Store, story: str) -> None:
    zombie = store.streaming()
    shown = Body() if story != "ended" else up_to(TEXT, 5)
    if shown.length:
        store.publish(zombie, shown)
    lapse(store, zombie)
    store.sweep().run()
    if story == "taken by another":
        store.claim(zombie.id, OTHER)
    before = _all_of(store, zombie.id)

    published = store.publish(zombie, TEXT, start=shown.length)
    saved = store.save(zombie, TEXT)
    finished = bool(owning.finish(store.db, ME, save_of(zombie, TEXT), DONE))
    released = owning.release(store.db, ME, zombie.id, zombie.token, 60)

    assert (published, saved, finished, released) == (PublishResult.FENCED, False, False, False)
    assert owning.lease_state(store.db, ME, [zombie.id]) == {}
    assert not owning.has_ended(store.db, zombie.id, zombie.token, zombie.attempt)
    assert _all_of(store, zombie.id) == before


def _all_of(store: Store, message_id: uuid.UUID) -> tuple[Any, ...]:
    """All that Postgres and Redis have of it."""
    row = store.row(message_id)
    log = store.livelog.read({message_id: row.claim})[message_id]
    return row, store.pieces(message_id), log


def test_a_zombie_with_the_same_owner_name_is_refused(store: Store) -> None:
    zombie = store.streaming()
    lapse(store, zombie)
    store.sweep().run()
    again = store.claim(zombie.id, ME)  # the same process took it again

    assert not store.save(zombie, TEXT)
    assert store.publish(zombie, TEXT) == PublishResult.FENCED
    assert owning.lease_state(store.db, ME, [zombie.id])[zombie.id].claim == again.token


# --- Redis away -----------------------------------------------------------------------------------


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[LiveLog]:
    """A live log on a Redis that does not answer."""
    with Redis(tmp_path / "redis") as redis:
        livelog = LiveLog(redis.url, ttl=60)
        livelog.ping()
        redis.signal(signal.SIGSTOP)
        yield livelog
        redis.signal(signal.SIGCONT)


def test_without_redis_an_answer_ends_with_the_text_in_postgres(store: Store) -> None:
    claim, untouched = store.streaming(), store.streaming()
    store.publish(claim, TEXT)
    store.save(claim, up_to(TEXT, 7))
    for one in (claim, untouched):
        lapse(store, one)

    nowhere = LiveLog("redis://127.0.0.1:1/0", ttl=60)

    assert store.sweep(livelog=nowhere).run() == Swept(ended=2)
    assert end(store, claim) == ("ERROR", "worker_lost", TEXT.content[:7])
    assert end(store, untouched) == ("ERROR", "worker_lost", "")


def test_a_redis_that_is_silent_costs_a_sweep_a_bounded_time(
    store: Store, frozen: LiveLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "REDIS_BUDGET", 0.5)
    # Without `watch` a call of a second is no pause, unless an earlier test has begun to tick.
    monkeypatch.setattr(awake, "_clock", awake.Clock())
    claims = [store.streaming() for _ in range(10)]
    for claim in claims:
        store.save(claim, TEXT)
        lapse(store, claim)
    store.make_overdue(store.sending(), "queue_deadline")
    begun = time.monotonic()

    swept = store.sweep(livelog=frozen).run()

    assert time.monotonic() - begun < 8  # one call under way when the time was over
    assert swept == Swept(ended=10, expired=1)
    assert {end(store, claim) for claim in claims} == {("ERROR", "worker_lost", TEXT.content)}


def test_an_absent_queue_is_no_error_and_is_tried_again(store: Store) -> None:
    waiting = store.sending()
    store.make_overdue(waiting, "dispatch_at")
    store.queue.away = True

    assert store.sweep().run() == Swept()

    assert store.row(waiting).status == "SENDING"
    store.queue.away = False
    store.make_overdue(waiting, "dispatch_at")
    assert store.sweep().run() == Swept(dispatched=1)
    assert store.queue.ids == [waiting]


# --- the round ------------------------------------------------------------------------------------


def test_a_question_that_redis_does_not_take_is_written_by_a_worker_with_room(store: Store) -> None:
    """Redis, which may be slow to refuse, is asked once a round and not for each message."""
    waiting = [store.sending() for _ in range(5)]
    for message in waiting:
        store.make_overdue(message, "dispatch_at")
    store.queue.away = True
    taken: list[uuid.UUID] = []

    def take(message_id: uuid.UUID) -> bool:
        free = len(taken) < 3
        taken.extend([message_id] * free)
        return free

    observed: list[str] = []
    sweep = store.sweep(take=take, observe=observed.append)
    assert sweep.run().dispatched == 3
    assert (store.queue.asked, observed) == (1, ["taken"] * 3)
    assert len(taken) == 3

    for message in set(waiting) - set(taken):  # those are due again
        store.make_overdue(message, "dispatch_at")
    store.queue.away = False
    assert sweep.run().dispatched == 2
    assert set(store.queue.ids) | set(taken) == set(waiting)


@pytest.mark.parametrize("entry", ["no JSON", "7", "[7]", "[[0]]"])
def test_a_log_that_is_not_ours_is_as_good_as_lost(store: Store, entry: str) -> None:
    claim = store.streaming()
    store.save(claim, TEXT)
    lapse(store, claim)
    store.redis.xadd(f"outlive:log:{claim.id}:{claim.token}", {"d": entry}, id="1-999")

    assert store.sweep().run() == Swept(ended=1)

    assert end(store, claim) == ("ERROR", "worker_lost", TEXT.content)


def test_a_row_that_cannot_be_swept_does_not_hold_up_the_others(store: Store) -> None:
    bad, good = sorted((store.streaming() for _ in range(2)), key=lambda claim: claim.id)
    for claim in (bad, good):
        store.save(claim, TEXT)
        lapse(store, claim)
    store.run("DELETE FROM pieces WHERE message_id = :id", id=bad.id)  # the product never does

    with capture_logs() as logged:
        swept = store.sweep().run()

    assert swept == Swept(ended=1)
    assert end(store, good) == ("ERROR", "worker_lost", TEXT.content)
    bugs = [entry["message_id"] for entry in logged if entry["event"] == "sweep.bug"]
    assert bugs == [str(bad.id)]


def test_the_rest_of_the_round_is_done_whatever_was_swept(store: Store) -> None:
    user = store.user()
    claim, late, due = store.streaming(user), store.sending(user), store.sending(user)
    store.publish(claim, TEXT)
    lapse(store, claim)
    store.make_overdue(late, "queue_deadline")
    store.make_overdue(due, "dispatch_at")
    old = store.ended(user)
    conversations.delete(store.db, user, store.row(old).conversation_id)
    store.run(
        "UPDATE conversations SET deleted_at = deleted_at - interval '1 hour' WHERE id = :id",
        id=store.row(old).conversation_id,
    )

    assert store.sweep().run() == Swept(ended=1, expired=1, dispatched=1, purged=1)

    assert store.queue.ids == [due]
