"""A Postgres or a Redis that is again what it was some seconds ago, under a running service.

What a standby lacks, or a backup, is what a story rewrites; `Store.go_back` makes a row what it
was. Black boxes with a real standby and a real snapshot are in the end-to-end tests.
"""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from local.redis import Redis
from shared.body import Body
from shared.bus.coding import decode
from shared.bus.keys import message_channel
from shared.bus.livelog import LiveLog
from shared.bus.publishing import PublishResult
from shared.lifecycle import Status
from shared.settings import Settings
from shared.store import messages, owning, stopping
from shared.store.ending import Ending
from shared.store.owning import Claim, new_token
from shared.sweep import Swept
from tests.rig import until
from tests.store_fixtures import ME, OTHER, RowSnapshot, Store, body_of, open_log, save_of
from web.following.message_keeper import MessageKeeper
from web.following.message_topic import MessageTopic, read, snapshot
from worker.generation import LOST, Generation, Result
from worker.writer import Writer

DONE = Ending(Status.DONE, "stop")
#: The text of the one claim, and of the other.
MINE = "The first answer, of which some was shown to readers."
THEIRS = "Another one, that says something else and at a greater length than the first one did."


class Lost:
    """An answer with two claims: Postgres lost the first one, and another worker claimed it."""

    def __init__(self, store: Store, owner: str) -> None:
        self.user = store.user()
        self.id = store.sending(self.user)
        before = store.remember(self.id)[self.id]
        self.first = store.claim(self.id)
        assert store.publish(self.first, body_of(MINE)) == PublishResult.WRITTEN
        assert store.save(self.first, body_of(MINE[:20]))
        self.reader = MessageTopic(self.id, self.user)
        read(store.db, store.livelog, [self.reader])
        assert self.reader.body.text == MINE

        store.go_back(before)
        self.second = store.claim(self.id, owner)
        assert (self.second.attempt, self.second.token) != (1, self.first.token)


@pytest.fixture(params=[ME, OTHER], ids=["the same worker", "another worker"])
def lost(store: Store, request: pytest.FixtureRequest) -> Lost:
    return Lost(store, request.param)


def end(store: Store, message_id: uuid.UUID) -> tuple[str, str | None, str]:
    """Status, code and text of the ended row, whose proof fits."""
    row = store.row(message_id)
    message = messages.load(store.db, message_id, row.user_id)
    assert row.sha256 == hashlib.sha256(message.body.content.encode()).hexdigest()
    assert row.length == message.body.length
    return row.status, row.error_code, message.body.content


# --- a claim that Postgres has lost ---------------------------------------------------------------


def test_the_same_attempt_under_another_token_writes_nothing_into_the_row(
    store: Store, lost: Lost
) -> None:
    first, second, body = lost.first, lost.second, body_of(MINE)
    assert first.attempt == second.attempt
    assert store.save(second, body_of(THEIRS[:20]), owner=owner_of(store, lost.id))

    for owner in (ME, OTHER):
        assert not store.save(first, body, 20, owner)
        assert not owning.finish(store.db, owner, save_of(first, body, 20), DONE)
        assert not owning.release(store.db, owner, first.id, first.token, 60)

    assert store.row(lost.id).claim == second.token
    assert [piece[3] for piece in store.pieces(lost.id)] == [THEIRS[:20]]


def owner_of(store: Store, message_id: uuid.UUID) -> str:
    return str(store.row(message_id).owner)


def test_has_ended_is_false_for_the_end_of_another_claim(store: Store, lost: Lost) -> None:
    last = save_of(lost.second, body_of(THEIRS))
    assert owning.finish(store.db, owner_of(store, lost.id), last, DONE)

    assert owning.has_ended(store.db, lost.id, lost.second.token, 1)
    assert not owning.has_ended(store.db, lost.id, lost.first.token, 1)


@pytest.mark.failure(40)
def test_the_sweep_salvages_nothing_of_another_claim(store: Store, lost: Lost) -> None:
    assert store.publish(lost.second, body_of(THEIRS[:10])) == PublishResult.WRITTEN
    store.make_overdue(lost.id, "lease_until")

    assert store.sweep().run() == Swept(ended=1)

    assert end(store, lost.id) == ("ERROR", "worker_lost", THEIRS[:10])


def test_text_of_another_claim_does_not_prevent_a_restart(store: Store, lost: Lost) -> None:
    store.make_overdue(lost.id, "lease_until")

    assert store.sweep().run().restarted == 1

    assert store.row(lost.id).claim is None


@pytest.mark.failure(40)
def test_both_claims_publish_and_their_texts_do_not_meet(store: Store, lost: Lost) -> None:
    """The first worker does not know yet; its log is its own."""
    with closing(store.livelog.subscription()) as subscription:
        subscription.subscribe(message_channel(lost.id))
        assert subscription.listen(5) is not None
        both = body_of(MINE, " And more of it.")
        assert store.publish(lost.second, body_of(THEIRS)) == PublishResult.WRITTEN
        assert store.publish(lost.first, both, len(MINE)) == PublishResult.WRITTEN
        received = [subscription.listen(5) for _ in range(2)]
    payloads = [decode(one.payload) for one in received if one is not None]

    logs = [store.livelog.read({lost.id: one.token})[lost.id] for one in (lost.first, lost.second)]
    assert [Body(log).text for log in logs] == [both.text, THEIRS]
    assert [one.claim for one in payloads if one] == [lost.second.token, lost.first.token]

    # A hub that has the one takes nothing of the other, in whatever order they come.
    for order in (payloads, payloads[::-1]):
        follower = MessageTopic(lost.id, lost.user)
        read(store.db, store.livelog, [follower])
        for one in order:
            assert one is not None
            fits = follower.receive(one.deltas, one.claim)
            assert fits == (one.claim == lost.second.token)
        assert follower.body.text == THEIRS
    assert snapshot(store.db, store.livelog, lost.id, lost.user).body.text == THEIRS


@pytest.mark.failure(40)
def test_readers_of_the_lost_text_are_sent_away_and_it_is_not_continued(
    store: Store, lost: Lost
) -> None:
    store.publish(lost.second, body_of(THEIRS))
    reader = lost.reader

    # Text of the other claim does not fit, so the row is read, and the row does not know it.
    assert not reader.receive(body_of(THEIRS).since(len(MINE)), lost.second.token)
    assert read(store.db, store.livelog, [reader]) == {}

    assert reader.replaced
    assert reader.body.text == MINE
    [poll_states] = messages.poll_states(store.db, [lost.id]).values()
    assert poll_states.claim == lost.second.token


@pytest.mark.parametrize("state", ["waiting", "ended", "ended unclaimed", "gone"])
def test_a_body_of_another_claim_is_not_continued_whatever_the_row_became(
    store: Store, lost: Lost, state: str
) -> None:
    if state == "gone":
        store.go_back(RowSnapshot(lost.id, None, None))
    elif state == "ended":
        last = save_of(lost.second, body_of(THEIRS))
        assert owning.finish(store.db, owner_of(store, lost.id), last, DONE)
    else:
        assert owning.release(store.db, owner_of(store, lost.id), lost.id, lost.second.token, 60)
        if state == "ended unclaimed":
            stopping.stop(store.db, lost.id, lost.user)

    assert read(store.db, store.livelog, [lost.reader]) == {}

    assert lost.reader.end is None
    assert lost.reader.body.text == MINE


def test_text_received_while_the_row_is_read_is_kept_of_the_rows_claim_only(
    store: Store, lost: Lost
) -> None:
    store.publish(lost.second, body_of(THEIRS[:10]))
    follower = MessageTopic(lost.id, lost.user)

    follower.begin_reading()
    assert follower.receive(body_of(MINE).since(0), lost.first.token)
    assert follower.receive(body_of(THEIRS).since(0), lost.second.token)
    row = messages.load(store.db, lost.id, lost.user)
    whole = follower.end_reading(row, store.livelog.read({lost.id: row.claim})[lost.id])

    assert not whole  # something did not fit: read again
    assert follower.body.text == THEIRS


# --- a row with less text than its owner ----------------------------------------------------------


@pytest.fixture
def writer(store: Store) -> Writer:
    no_workers: Any = None
    return Writer(Settings(boot=str(uuid.uuid4())), store.db, store.livelog, no_workers)


def begin(store: Store, writer: Writer, answer: uuid.UUID | None = None) -> Generation:
    """A generation whose greenlets do only what a story does."""
    claim = store.claim(answer or store.sending(), writer._owner)
    generation = Generation(claim, limit=10**6, grown=writer._grown)
    writer._running[claim.id] = generation
    writer.saver.add(generation.save_state)
    return generation


def published(writer: Writer, generation: Generation) -> None:
    """Rounds of the publisher until Redis has confirmed everything."""

    def all_of_it() -> bool:
        writer.publisher.round()
        unknown = writer.publisher._unconfirmed or writer.publisher._missing
        return not unknown and generation.outbox.published == generation.body.length

    until(all_of_it)


def test_a_row_with_less_text_than_its_owner_is_written_forward_at_once(
    store: Store, writer: Writer
) -> None:
    # given: 26 of 52 characters are lost, and the log was freed of them
    generation = begin(store, writer)
    text = ""
    for number in range(4):
        text += f"{number}: 13 letters"[:13]
        generation.write("text", text[-13:])
        writer.publisher.round()
        if number == 2:
            memory = store.remember(generation.id)[generation.id]
        assert writer.saver._save([generation.save_state])
    state = generation.save_state
    assert (state.saved, state.saved_before) == (52, 39)

    # when: the row goes back
    store.go_back(memory)
    assert store.row(generation.id).saved_len == 26

    # then: the next round finds that, waits for no lock, and the one after writes it
    assert writer.saver._save([generation.save_state])
    assert (state.saved, state.saved_before) == (26, 26)
    assert writer.saver._due_at(state) < float("inf")
    assert writer.saver._save([generation.save_state])
    row = store.row(generation.id)
    assert (row.saved_len, row.status, row.claim) == (52, "STREAMING", generation.claim)
    assert "".join(piece[3] for piece in store.pieces(generation.id)) == text


@pytest.mark.failure(40)
@pytest.mark.parametrize("back", [0, 1, 2, 3])
@pytest.mark.parametrize("parts", [1, 3])
def test_the_end_of_an_answer_whose_row_went_back_has_every_character(
    store: Store, writer: Writer, back: int, parts: int
) -> None:
    generation = begin(store, writer)
    past = [store.remember(generation.id)[generation.id]]
    for number in range(3):
        generation.write(["text", "reasoning", "text"][number % parts], f"piece {number} 😀. ")
        writer.saver._save([generation.save_state])
        past.append(store.remember(generation.id)[generation.id])

    store.go_back(past[back])
    ending = writer.finisher.finish(generation, Result(DONE))

    assert ending is not None
    assert end(store, generation.id) == ("DONE", None, generation.body.content)
    loaded = messages.load(store.db, generation.id, generation.user_id)
    assert loaded.body.since(0) == generation.body.since(0)


def test_a_row_that_goes_back_again_and_again_is_written_again_and_again(
    store: Store, writer: Writer
) -> None:
    generation = begin(store, writer)
    memory = store.remember(generation.id)[generation.id]
    for number in range(3):
        generation.write("text", f"{number} and ")
        for _ in range(2):
            assert writer.saver._save([generation.save_state])
        assert store.row(generation.id).saved_len == generation.body.length
        store.go_back(memory)

    writer.finisher.finish(generation, Result(DONE))

    assert end(store, generation.id) == ("DONE", None, "0 and 1 and 2 and ")


def test_postgres_and_redis_go_back_together_under_a_living_worker(
    store: Store, writer: Writer
) -> None:
    generation = begin(store, writer)
    memory, logs = store.remember(generation.id)[generation.id], store.remember_redis()
    generation.write("text", "All of this is lost in both. ")
    published(writer, generation)
    assert writer.saver._save([generation.save_state])

    store.go_back(memory)
    store.redis_goes_back(logs)
    generation.write("text", "And then it goes on.")
    writer.publisher.add(generation.outbox)
    # Nothing of the text is in Redis: the owner confirms its row, and publishes all of it again.
    published(writer, generation)
    for _ in range(2):
        assert writer.saver._save([generation.save_state])

    log = store.livelog.read({generation.id: generation.claim})[generation.id]
    assert log[-1].end == generation.body.length
    assert store.row(generation.id).saved_len == generation.body.length


# --- a row that is the owner's no more ------------------------------------------------------------


@pytest.mark.parametrize("to", ["asked", "gone", "claimed by the same worker"])
def test_the_writer_of_a_claim_that_postgres_lost_stops(
    store: Store, writer: Writer, to: str
) -> None:
    answer = store.sending()
    asked = store.remember(answer)[answer]
    generation = begin(store, writer, answer)
    generation.write("text", MINE)
    assert writer.saver._save([generation.save_state])

    store.go_back(RowSnapshot(answer, None, None) if to == "gone" else asked)
    again = begin(store, writer, answer) if to == "claimed by the same worker" else None
    writer.saver._save([generation.save_state])

    assert generation.reading.result == LOST  # nothing is written of it
    assert writer.finisher.finish(generation, LOST) is None
    if again is not None:
        assert again.reading.result is None
        again.write("text", THEIRS)
        assert writer.finisher.finish(again, Result(DONE)) is not None
        assert end(store, answer) == ("DONE", None, THEIRS)


def test_an_end_that_postgres_has_lost_ends_again_when_the_lease_is_over(store: Store) -> None:
    """A lost end is not promised. That the answer ends again, with a true proof, is."""
    user = store.user()
    claim = store.streaming(user)
    store.save(claim, body_of(MINE[:10]))
    memory = store.remember(claim.id)[claim.id]
    assert owning.finish(store.db, ME, save_of(claim, body_of(MINE), 10), DONE)

    store.go_back(memory)
    store.make_overdue(claim.id, "lease_until")
    assert store.sweep().run() == Swept(ended=1)

    assert end(store, claim.id) == ("ERROR", "worker_lost", MINE[:10])


def test_an_end_in_memory_is_dropped_when_the_row_is_open_again(
    store: Store, keeper: MessageKeeper
) -> None:
    user = store.user()
    claim = store.streaming(user)
    memory = store.remember(claim.id)[claim.id]
    assert owning.finish(store.db, ME, save_of(claim, body_of(MINE)), DONE)
    with keeper.follow(claim.id, user) as before:
        assert before.end is not None

        store.go_back(memory)
        with keeper.follow(claim.id, user) as now:
            assert now.end is None
            assert now.body.length == 0
        assert before.closed


def test_a_hub_gives_up_a_text_that_the_row_does_not_know(
    store: Store, keeper: MessageKeeper
) -> None:
    user = store.user()
    answer = store.sending(user)
    asked = store.remember(answer)[answer]
    first = store.claim(answer)
    store.save(first, body_of(MINE))
    with keeper.follow(answer, user) as before:
        assert before.body.text == MINE

        store.go_back(asked)
        second = store.claim(answer)
        store.save(second, body_of(THEIRS))
        before.received_at = 0.0  # it has been silent for long, so the row is polled
        until(lambda: before.closed)

        with keeper.follow(answer, user) as now:
            assert now is not before
            assert (now.body.text, now.claim) == (THEIRS, second.token)
    assert before.body.text == MINE


# --- Redis as it was ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(Path(tmp_path_factory.mktemp("rewound"))) as server:
        yield server


@pytest.mark.failure(39)
def test_open_proves_nothing_of_a_redis_that_was_started_since(server: Redis) -> None:
    """Its file, or a snapshot that was put back, may lack what came after."""
    log, same, other = LiveLog(server.url, ttl=60), uuid.uuid4(), uuid.uuid4()
    claims = {same: new_token(), other: new_token()}
    open_log(log, other, claims[other])

    server.kill()
    server.start().wait()
    open_log(log, same, claims[same])

    assert log.read(claims) == {same: [], other: []}  # the file was kept
    assert log.fence(same, claims[same], 1) == (True, [])
    assert log.fence(other, claims[other], 1) == (False, [])


def test_open_proves_as_before_where_info_is_not_allowed(server: Redis) -> None:
    admin: Any = redis.Redis.from_url(server.url)
    admin.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-info")
    admin.close()
    log = LiveLog(server.url.replace(":" + server.address.password, "app:secret"), ttl=60)
    message_id, claim = uuid.uuid4(), new_token()

    open_log(log, message_id, claim)

    assert log.fence(message_id, claim, 1) == (True, [])


@pytest.mark.failure(39)
def test_a_log_that_went_back_to_its_beginning_does_not_let_the_answer_begin_again(
    store: Store,
) -> None:
    claim = store.streaming()
    logs = store.remember_redis()
    store.publish(claim, body_of(MINE))

    store.redis_goes_back(logs)
    store.make_overdue(claim.id, "lease_until")
    assert store.sweep().run() == Swept(ended=1)

    # Readers have more, and see that by the proof of the end.
    assert end(store, claim.id) == ("ERROR", "worker_lost", "")


def test_a_log_that_went_back_to_another_claim_is_not_salvaged(store: Store) -> None:
    # given: a first claim has published, and a second one after Postgres went back
    answer = store.sending()
    asked = store.remember(answer)[answer]
    first: Claim = store.claim(answer)
    store.publish(first, body_of(MINE))
    logs = store.remember_redis()
    store.go_back(asked)
    second = store.claim(answer, OTHER)
    store.publish(second, body_of(THEIRS))
    store.save(second, body_of(THEIRS[:5]), owner=OTHER)

    store.redis_goes_back(logs)
    store.make_overdue(answer, "lease_until")
    store.sweep().run()

    assert end(store, answer) == ("ERROR", "worker_lost", THEIRS[:5])


def test_an_owner_that_meets_a_log_that_went_back_publishes_again(
    store: Store, writer: Writer
) -> None:
    generation = begin(store, writer)
    logs = store.remember_redis()
    generation.write("text", "Said once, ")
    published(writer, generation)

    store.redis_goes_back(logs)
    generation.write("text", "and again.")
    published(writer, generation)

    log = store.livelog.read({generation.id: generation.claim})[generation.id]
    assert Body(log).text == "Said once, and again."
