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
from shared.bus.livelog import LiveLog, Outcome, Publication, channel
from shared.lifecycle import MAX_TRIES, Status
from shared.store import conversations, messages, owning
from shared.store.messages import Ending
from shared.store.owning import Claim
from shared.sweep import Swept
from tests.store_fixtures import ME, OTHER, Ground, at_once, body_of, save_of

DONE = Ending(Status.DONE, "stop")
TEXT = body_of(("reasoning", "Hm 😀."), "It is ", ("tool_call", '{"é":1}'), "so. 𝄞")


def lapse(ground: Ground, claim: Claim) -> None:
    ground.pass_by(claim.id, "lease_until")


def end(ground: Ground, claim: Claim) -> tuple[str, str | None, str]:
    """Status, code and content of the ended row."""
    row = ground.row(claim.id)
    body = messages.load(ground.db, claim.id, row.user_id, deleted=True).body
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
def test_published_text_that_was_not_saved_is_salvaged(ground: Ground, saved: int) -> None:
    claim = ground.streaming()
    ground.publish(claim, TEXT)
    ground.save(claim, up_to(TEXT, saved))
    lapse(ground, claim)

    assert ground.sweep().run() == Swept(ended=1)

    assert end(ground, claim) == ("ERROR", "worker_lost", TEXT.content)
    row = ground.row(claim.id)
    assert messages.load(ground.db, claim.id, row.user_id).body.since(0) == TEXT.since(0)


def test_entries_may_overlap_with_each_other_and_with_what_is_saved(ground: Ground) -> None:
    claim = ground.streaming()
    for start, stop in ((0, 4), (2, 9), (0, 12), (11, TEXT.length)):
        deltas = up_to(TEXT, stop).since(start)
        ground.publish_all([Publication(claim.id, claim.token, 1, deltas, 0)])
    ground.save(claim, up_to(TEXT, 5))
    lapse(ground, claim)

    ground.sweep().run()

    assert end(ground, claim) == ("ERROR", "worker_lost", TEXT.content)


def test_a_trimmed_log_continues_what_is_saved(ground: Ground) -> None:
    claim = ground.streaming()
    ground.publish(claim, up_to(TEXT, 7))
    ground.save(claim, up_to(TEXT, 7))
    ground.publish(claim, TEXT, start=7, trim=7)
    lapse(ground, claim)

    ground.sweep().run()

    assert end(ground, claim) == ("ERROR", "worker_lost", TEXT.content)


def test_behind_a_gap_nothing_is_guessed(ground: Ground) -> None:
    claim = ground.streaming()
    ground.save(claim, up_to(TEXT, 3))
    ground.redis.flushdb()
    force = Publication(claim.id, claim.token, 1, TEXT.since(8), 0, force=True)
    assert ground.publish_all([force]) == [Outcome.WRITTEN]
    lapse(ground, claim)

    ground.sweep().run()

    assert end(ground, claim) == ("ERROR", "worker_lost", TEXT.content[:3])


def test_followers_are_woken_and_the_log_goes_soon(ground: Ground) -> None:
    claim = ground.streaming()
    ground.publish(claim, TEXT)
    lapse(ground, claim)
    subscription = ground.livelog.subscription()
    subscription.subscribe(channel(claim.id))
    subscription.listen(5)

    ground.sweep().run()

    heard = subscription.listen(5)
    subscription.close()
    assert heard is not None
    assert (heard.kind, heard.payload) == ("message", "{}")
    assert end(ground, claim)[0] == "ERROR"


# --- who is swept ---------------------------------------------------------------------------------


def test_an_owner_that_renews_is_left_alone(ground: Ground) -> None:
    claim = ground.streaming()
    lapse(ground, claim)
    ground.save(claim, Body())

    assert ground.sweep().run() == Swept()

    assert ground.row(claim.id).status == "STREAMING"
    assert ground.publish(claim, TEXT) == Outcome.WRITTEN


def test_soon_after_a_start_of_postgres_only_the_seen_dead_are_swept(ground: Ground) -> None:
    claim = ground.streaming(owner="host:dead")
    ground.publish(claim, TEXT)
    lapse(ground, claim)

    assert ground.sweep(lease=1e6).run() == Swept()
    assert ground.sweep(lease=1e6).run(died="other") == Swept()
    assert ground.sweep(lease=1e6).run(died="dead") == Swept(ended=1)


def test_a_worker_that_was_seen_to_die_is_not_waited_for(ground: Ground) -> None:
    dead, alive = ground.streaming(owner="host:dead"), ground.streaming(owner="host:alive")
    ground.publish(dead, TEXT)

    assert ground.sweep().run(died="dead") == Swept(ended=1)

    assert end(ground, dead) == ("ERROR", "worker_lost", TEXT.content)
    assert ground.row(alive.id).status == "STREAMING"


@pytest.mark.parametrize("who", ["Postgres", "this process", "a statement"])
def test_after_a_silence_no_lease_has_lapsed_until_owners_could_come_back(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    lease = 0.2 if who == "a statement" else 50.0
    claim, waiting, seen_dead = ground.streaming(), ground.sending(), ground.streaming(owner=OTHER)
    for one in (claim, seen_dead):
        ground.publish(one, TEXT)
        lapse(ground, one)
    ground.pass_by(waiting, "queue_deadline")
    ground.run("UPDATE uptime SET since = clock_timestamp() - interval '1 h'")
    ground.run("UPDATE messages SET dispatch_at = clock_timestamp() + interval '1 h'"
               " WHERE status = 'SENDING'")  # fmt: skip
    round_of_sweep = ground.sweep(lease)
    if who == "Postgres":
        round_of_sweep.doubt()
    elif who == "this process":
        clock = awake.Clock()
        monkeypatch.setattr(awake, "_clock", clock)
        clock.look()
        clock._pauses.appendleft((time.monotonic(), 60.0))
    else:
        monkeypatch.setattr(sweep, "QUICK", 0.0)
        monkeypatch.setattr(sweep, "UNNOTICED", 0.0)

    assert round_of_sweep.run() == Swept()
    round_of_sweep.one(claim.id)
    assert ground.row(claim.id).status == "STREAMING"
    assert ground.row(waiting).status == "SENDING"
    # but whoever was seen to die is dead, whoever slept
    assert round_of_sweep.run(died=OTHER.partition(":")[2]).ended == 1
    assert end(ground, seen_dead)[:2] == ("ERROR", "worker_lost")


def test_a_row_that_its_last_statement_still_holds_is_swept_too(ground: Ground) -> None:
    # given: Postgres is still at what the dead worker had sent for one of its answers
    held, free = sorted((ground.streaming(owner="host:dead") for _ in "12"), key=lambda one: one.id)
    first_look = Event()
    sweep = ground.sweep(observe=lambda action: first_look.set())

    with ThreadPoolExecutor(1) as pool:
        with ground.locked(held.id):
            swept = pool.submit(sweep.run, "dead")
            assert first_look.wait(10)  # the other one was swept, so this one was tried

        assert swept.result(10) == Swept(restarted=2, dispatched=2)
    assert ground.row(held.id).status == ground.row(free.id).status == "SENDING"


def test_past_the_hard_deadline_a_living_owner_is_swept_too(ground: Ground) -> None:
    claim = ground.streaming()
    ground.publish(claim, TEXT)
    ground.pass_by(claim.id, "hard_deadline")

    ground.sweep().run()

    assert end(ground, claim) == ("ERROR", "deadline", TEXT.content)


@pytest.mark.parametrize("shown", [True, False])
def test_if_somebody_pressed_stop_it_is_cancelled(ground: Ground, shown: bool) -> None:
    user = ground.user()
    claim = ground.streaming(user)
    if shown:
        ground.publish(claim, TEXT)
    messages.stop(ground.db, claim.id, user)
    ground.pass_by(claim.id, "lease_until", "hard_deadline")

    assert ground.sweep().run() == Swept(ended=1)

    assert end(ground, claim) == ("CANCELLED", None, TEXT.content if shown else "")


def test_a_deleted_conversations_answer_is_cancelled(ground: Ground) -> None:
    user = ground.user()
    claim = ground.streaming(user)
    ground.publish(claim, TEXT)
    conversations.delete(ground.db, user, ground.row(claim.id).conversation_id)
    lapse(ground, claim)

    ground.sweep().run()

    assert end(ground, claim) == ("CANCELLED", None, TEXT.content)


def test_a_reader_can_have_the_message_it_waits_for_swept(ground: Ground) -> None:
    claim, other = ground.streaming(), ground.streaming()
    ground.publish(claim, TEXT)
    ground.publish(other, TEXT)
    lapse(ground, claim)
    lapse(ground, other)
    expired = ground.sending()
    ground.pass_by(expired, "queue_deadline")

    ground.sweep().one(claim.id)

    assert end(ground, claim) == ("ERROR", "worker_lost", TEXT.content)
    assert ground.row(other.id).status == "STREAMING"
    assert ground.row(expired).error_code == "queue_timeout"


def test_many_sweeps_at_once_end_each_row_once(ground: Ground) -> None:
    claims = [ground.streaming() for _ in range(20)]
    for claim in claims:
        ground.publish(claim, TEXT)
        lapse(ground, claim)

    swept, errors = at_once(5, lambda _: ground.sweep().run())

    assert errors == []
    assert sum(one.ended for one in swept) == len(claims)
    assert {end(ground, claim) for claim in claims} == {("ERROR", "worker_lost", TEXT.content)}


def test_each_action_is_told_by_name(ground: Ground) -> None:
    told: list[str] = []
    ended, restarted = ground.streaming(), ground.streaming()
    ground.publish(ended, TEXT)
    lapse(ground, ended)
    lapse(ground, restarted)
    ground.pass_by(ground.sending(), "queue_deadline")

    swept = sweep.Sweep(
        ground.db, ground.livelog, ground.queue, lease=0, queue_deadline=60, observe=told.append
    ).run()

    assert swept == Swept(ended=1, restarted=1, expired=1, dispatched=1)
    assert sorted(told) == ["dispatched", "ended", "expired", "restarted"]


# --- beginning again ------------------------------------------------------------------------------


def test_what_was_provably_never_shown_begins_again_at_once(ground: Ground) -> None:
    claim = ground.streaming()
    lapse(ground, claim)

    assert ground.sweep().run() == Swept(restarted=1, dispatched=1)

    assert ground.queue.ids == [claim.id]
    again = ground.claim(claim.id, OTHER)
    assert ground.publish(again, TEXT) == Outcome.WRITTEN
    assert owning.finish(ground.db, OTHER, save_of(again, TEXT), DONE)
    assert end(ground, claim) == ("DONE", None, TEXT.content)


def test_the_third_claim_is_the_last(ground: Ground) -> None:
    claim = ground.streaming()
    for _ in range(MAX_TRIES - 1):
        lapse(ground, claim)
        assert ground.sweep().run().restarted == 1
        claim = ground.claim(claim.id)
    lapse(ground, claim)

    assert ground.sweep().run() == Swept(ended=1)

    assert end(ground, claim) == ("ERROR", "worker_lost", "")
    assert ground.row(claim.id).tries == MAX_TRIES


def test_one_published_character_is_enough_not_to_begin_again(ground: Ground) -> None:
    claim = ground.streaming()
    ground.publish(claim, body_of("x"))
    lapse(ground, claim)

    assert ground.sweep().run() == Swept(ended=1)

    assert end(ground, claim) == ("ERROR", "worker_lost", "x")


def test_past_the_hard_deadline_nothing_begins_again(ground: Ground) -> None:
    claim = ground.streaming()
    ground.pass_by(claim.id, "hard_deadline")

    ground.sweep().run()

    assert end(ground, claim) == ("ERROR", "deadline", "")


@pytest.mark.parametrize("story", ["the log is gone", "the log was never opened", "older attempt"])
def test_a_missing_log_is_no_proof(ground: Ground, story: str) -> None:
    if story == "older attempt":
        message_id = ground.streaming().id
        ground.pass_by(message_id, "lease_until")
        ground.sweep().run()
    else:
        message_id = ground.sending()
    claim = owning.claim(ground.db, message_id, ME, 60, 900)
    assert claim is not None  # and Redis did not take its open
    if story == "the log is gone":
        ground.open(claim.id, claim.token, claim.attempt)
        ground.redis.flushdb()
    lapse(ground, claim)

    assert ground.sweep().run() == Swept(ended=1)

    assert end(ground, claim) == ("ERROR", "worker_lost", "")


def test_published_and_then_lost_does_not_begin_again(ground: Ground) -> None:
    claim = ground.streaming()
    ground.publish(claim, TEXT)
    ground.redis.flushdb()
    lapse(ground, claim)

    ground.sweep().run()

    assert end(ground, claim) == ("ERROR", "worker_lost", "")


def test_a_sweep_that_died_between_fence_and_commit_is_repeated(ground: Ground) -> None:
    claim = ground.streaming()
    lapse(ground, claim)
    ground.livelog.fence(claim.id, claim.token, claim.attempt)  # and then it died

    assert ground.sweep().run() == Swept(restarted=1, dispatched=1)

    assert ground.claim(claim.id).attempt == 3


def test_and_with_text_it_salvages_what_the_dead_sweep_had_fenced(ground: Ground) -> None:
    claim = ground.streaming()
    ground.publish(claim, TEXT)
    lapse(ground, claim)
    ground.livelog.fence(claim.id, claim.token, claim.attempt)

    ground.sweep().run()

    assert end(ground, claim) == ("ERROR", "worker_lost", TEXT.content)


def test_a_message_given_back_and_taken_again_is_judged_by_its_last_attempt(
    ground: Ground,
) -> None:
    claim = ground.streaming()
    assert owning.release(ground.db, ME, claim.id, claim.token, 60)
    again = ground.claim(claim.id, OTHER)
    lapse(ground, again)

    assert ground.sweep().run().restarted == 1

    last = ground.claim(claim.id)
    ground.publish(last, TEXT)
    lapse(ground, last)
    assert ground.sweep().run().ended == 1


# --- the zombie -----------------------------------------------------------------------------------


@pytest.mark.parametrize("story", ["ended", "begun again", "taken by another"])
def test_an_owner_that_was_swept_can_write_nothing_anywhere(ground: Ground, story: str) -> None:
    zombie = ground.streaming()
    shown = Body() if story != "ended" else up_to(TEXT, 5)
    if shown.length:
        ground.publish(zombie, shown)
    lapse(ground, zombie)
    ground.sweep().run()
    if story == "taken by another":
        ground.claim(zombie.id, OTHER)
    before = _all_of(ground, zombie.id)

    published = ground.publish(zombie, TEXT, start=shown.length)
    saved = ground.save(zombie, TEXT)
    finished = owning.finish(ground.db, ME, save_of(zombie, TEXT), DONE)
    released = owning.release(ground.db, ME, zombie.id, zombie.token, 60)

    assert (published, saved, finished, released) == (Outcome.FENCED, False, False, False)
    assert owning.standing(ground.db, ME, [zombie.id]) == {}
    assert not owning.has_ended(ground.db, zombie.id, zombie.token, zombie.attempt)
    assert _all_of(ground, zombie.id) == before


def _all_of(ground: Ground, message_id: uuid.UUID) -> tuple[Any, ...]:
    """What any server has of it."""
    row = ground.row(message_id)
    log = ground.livelog.read({message_id: row.claim})[message_id]
    return row, ground.pieces(message_id), log


def test_a_zombie_with_the_same_owners_name_is_one_too(ground: Ground) -> None:
    zombie = ground.streaming()
    lapse(ground, zombie)
    ground.sweep().run()
    again = ground.claim(zombie.id, ME)  # the same process took it again

    assert not ground.save(zombie, TEXT)
    assert ground.publish(zombie, TEXT) == Outcome.FENCED
    assert owning.standing(ground.db, ME, [zombie.id])[zombie.id].claim == again.token


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


def test_without_redis_it_ends_with_what_postgres_has(ground: Ground) -> None:
    claim, untouched = ground.streaming(), ground.streaming()
    ground.publish(claim, TEXT)
    ground.save(claim, up_to(TEXT, 7))
    for one in (claim, untouched):
        lapse(ground, one)

    nowhere = LiveLog("redis://127.0.0.1:1/0", ttl=60)

    assert ground.sweep(livelog=nowhere).run() == Swept(ended=2)
    assert end(ground, claim) == ("ERROR", "worker_lost", TEXT.content[:7])
    assert end(ground, untouched) == ("ERROR", "worker_lost", "")


def test_a_redis_that_is_silent_costs_a_sweep_a_bounded_time(
    ground: Ground, frozen: LiveLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "REDIS_BUDGET", 0.5)
    claims = [ground.streaming() for _ in range(10)]
    for claim in claims:
        ground.save(claim, TEXT)
        lapse(ground, claim)
    ground.pass_by(ground.sending(), "queue_deadline")
    begun = time.monotonic()

    swept = ground.sweep(livelog=frozen).run()

    assert time.monotonic() - begun < 8  # one call under way when the time was over
    assert swept == Swept(ended=10, expired=1)
    assert {end(ground, claim) for claim in claims} == {("ERROR", "worker_lost", TEXT.content)}


def test_a_queue_that_is_away_is_no_error_and_is_asked_again(ground: Ground) -> None:
    waiting = ground.sending()
    ground.pass_by(waiting, "dispatch_at")
    ground.queue.away = True

    assert ground.sweep().run() == Swept()

    assert ground.row(waiting).status == "SENDING"
    ground.queue.away = False
    ground.pass_by(waiting, "dispatch_at")
    assert ground.sweep().run() == Swept(dispatched=1)
    assert ground.queue.ids == [waiting]


# --- the round ------------------------------------------------------------------------------------


def test_what_redis_does_not_take_is_written_where_there_is_a_place(ground: Ground) -> None:
    """And Redis, which may be slow to refuse, is asked once a round and not for each message."""
    waiting = [ground.sending() for _ in range(5)]
    for message in waiting:
        ground.pass_by(message, "dispatch_at")
    ground.queue.away = True
    taken: list[uuid.UUID] = []

    def take(message_id: uuid.UUID) -> bool:
        free = len(taken) < 3
        taken.extend([message_id] * free)
        return free

    told: list[str] = []
    sweep = ground.sweep(take=take, observe=told.append)
    assert sweep.run().dispatched == 3
    assert (ground.queue.asked, told) == (1, ["taken"] * 3)
    assert len(taken) == 3

    for message in set(waiting) - set(taken):  # those are due again
        ground.pass_by(message, "dispatch_at")
    ground.queue.away = False
    assert sweep.run().dispatched == 2
    assert set(ground.queue.ids) | set(taken) == set(waiting)


@pytest.mark.parametrize("entry", ["no JSON", "7", "[7]", "[[0]]"])
def test_a_log_that_is_not_ours_is_as_good_as_lost(ground: Ground, entry: str) -> None:
    claim = ground.streaming()
    ground.save(claim, TEXT)
    lapse(ground, claim)
    ground.redis.xadd(f"outlive:log:{claim.id}:{claim.token}", {"d": entry}, id="1-999")

    assert ground.sweep().run() == Swept(ended=1)

    assert end(ground, claim) == ("ERROR", "worker_lost", TEXT.content)


def test_a_row_that_cannot_be_swept_does_not_hold_up_the_others(ground: Ground) -> None:
    bad, good = sorted((ground.streaming() for _ in range(2)), key=lambda claim: claim.id)
    for claim in (bad, good):
        ground.save(claim, TEXT)
        lapse(ground, claim)
    ground.run("DELETE FROM pieces WHERE message_id = :id", id=bad.id)  # nobody does that

    with capture_logs() as logged:
        swept = ground.sweep().run()

    assert swept == Swept(ended=1)
    assert end(ground, good) == ("ERROR", "worker_lost", TEXT.content)
    bugs = [entry["message_id"] for entry in logged if entry["event"] == "sweep.bug"]
    assert bugs == [str(bad.id)]


def test_the_rest_of_the_round_is_done_whatever_was_swept(ground: Ground) -> None:
    user = ground.user()
    claim, late, due = ground.streaming(user), ground.sending(user), ground.sending(user)
    ground.publish(claim, TEXT)
    lapse(ground, claim)
    ground.pass_by(late, "queue_deadline")
    ground.pass_by(due, "dispatch_at")
    old = ground.ended(user)
    conversations.delete(ground.db, user, ground.row(old).conversation_id)
    ground.run(
        "UPDATE conversations SET deleted_at = deleted_at - interval '1 hour' WHERE id = :id",
        id=ground.row(old).conversation_id,
    )

    assert ground.sweep().run() == Swept(ended=1, expired=1, dispatched=1, purged=1)

    assert ground.queue.ids == [due]
