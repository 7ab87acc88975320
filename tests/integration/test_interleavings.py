"""R1 to R7 in any order: three workers, sweeps, stops, lost data, and readers that are shown text.

The workers are real writers (publisher, saver and end), the readers real followers of the hub,
on real Postgres and Redis; only who moves next is up to Hypothesis. A worker that does not move
is frozen, and a zombie when it moves again.
"""

import uuid
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared import asking, messages
from shared.body import Body, Delta
from shared.errors import Conflict, TooMany
from shared.lifecycle import MAX_TRIES, TERMINAL, Status
from shared.livelog import channel, decode, message_of
from shared.messages import SELECT, Ending, Message, to_message
from shared.settings import Settings
from tests.ground import Ground
from tests.strategies import between, thorough
from web.hub import Followed
from worker import writer as writer_module
from worker.generation import Generation, Interrupted
from worker.publisher import _publication
from worker.writer import Writer

CAP = 3
WORKERS = 3

workers = st.integers(0, WORKERS - 1)
picks = st.integers(0, 5)
kinds = st.sampled_from(["text", "text", "reasoning"])
said = st.text("ab😀\n", min_size=1, max_size=6)
ends = st.sampled_from(["DONE", "DONE", "ERROR"])


def is_prefix(one: Body, other: Body) -> bool:
    """Whether `other` begins with `one`, part by part."""
    return one.since(0) == between(other, 0, one.length)


class Worker:
    """A worker process: what it remembers is lost when it is killed."""

    def __init__(self, ground: Ground) -> None:
        settings = Settings(boot=str(uuid.uuid4()), queue_deadline_seconds=600)
        self.owner, self.boot = settings.owner, settings.boot
        no_provider: Any = None
        self.writer = Writer(settings, ground.db, ground.livelog, no_provider)
        self.running: list[Generation] = []


class Reader:
    """A follower in some web process, and what the channel has brought it."""

    def __init__(self, message_id: uuid.UUID, user: uuid.UUID) -> None:
        self.followed = Followed(message_id, user)
        self.heard: list[list[Delta]] = []


class Interleavings(RuleBasedStateMachine):
    """See the rules' names."""

    ground: ClassVar[Ground]

    @initialize()
    def begin(self) -> None:
        self.ground.clear()
        self.db, self.livelog = self.ground.db, self.ground.livelog
        self.user = self.ground.user()
        self.workers = [Worker(self.ground) for _ in range(WORKERS)]
        self.subscription = self.livelog.subscription()
        self.ids: list[uuid.UUID] = []
        self.readers: list[Reader] = []
        #: what each claim wrote, whatever became of its worker
        self.written: dict[tuple[uuid.UUID, int], Body] = {}
        self.said_done: set[tuple[uuid.UUID, int]] = set()
        #: the most that any reader was ever shown; messages of which Redis lost something
        self.shown: dict[uuid.UUID, Body] = {}
        self.lossy: set[uuid.UUID] = set()
        self.ended: dict[uuid.UUID, Any] = {}

    # --- R1

    @rule(key=st.sampled_from([None, "a", "b"]))
    def ask(self, key: str | None) -> None:
        request = self.ground.asking(self.user, max_open=CAP, **({"key": key} if key else {}))
        place = self.ground.conversation(self.user)
        with suppress(TooMany):
            asked = asking.ask(self.db, request, place, "?")
            if asked.fresh:
                self.ids.append(asked.answer.id)
                self.subscription.subscribe(channel(asked.answer.id))

    @precondition(lambda self: self.ids)
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        request = self.ground.asking(self.user, max_open=CAP)
        with suppress(TooMany, Conflict):
            asked = asking.ask_again(self.db, request, self.message(pick))
            self.ids.append(asked.answer.id)
            self.subscription.subscribe(channel(asked.answer.id))

    # --- R2: a delivery, perhaps the second one of the same task

    @precondition(lambda self: self.ids)
    @rule(number=workers, pick=picks, opened=st.sampled_from([True, True, True, False]))
    def deliver(self, number: int, pick: int, opened: bool) -> None:
        worker = self.workers[number]
        claim = messages.claim(self.db, self.message(pick), worker.owner, 600, 900)
        if claim is None:
            return
        if opened:  # else Redis was away for a moment
            self.livelog.open(claim.id, claim.attempt)
        generation = Generation(claim, limit=10**6, grown=worker.writer._grown)
        self.written[claim.id, claim.attempt] = generation.body
        worker.running.append(generation)
        worker.writer.saver.add(generation)

    # --- a worker at work

    @rule(number=workers, pick=picks, kind=kinds, text=said, fresh=st.booleans())
    def the_provider_says(self, number: int, pick: int, kind: str, text: str, fresh: bool) -> None:
        for generation in self.one_of(self.workers[number], pick):
            generation.write(kind, text, fresh=fresh)

    @rule(number=workers, answered=st.sampled_from([True, True, False]))
    def publish(self, number: int, answered: bool) -> None:
        worker = self.workers[number]
        if answered:
            worker.writer.publisher._publish(worker.running)
        elif items := [item for one in worker.running if (item := _publication(one))]:
            self.livelog.publish(items)  # the answer is lost on the way
        self.notice(worker)

    @rule(number=workers, answered=st.sampled_from([True, True, False]))
    def save(self, number: int, answered: bool) -> None:
        worker = self.workers[number]
        if answered:
            worker.writer.saver._save(worker.running)
        elif worker.running:  # a commit of unknown outcome
            saves = [generation.to_save() for generation in worker.running]
            messages.save(self.db, worker.owner, 600, saves)
        self.notice(worker)

    @rule(number=workers, pick=picks, how=ends, answered=st.booleans())
    def finish(self, number: int, pick: int, how: str, answered: bool) -> None:
        worker = self.workers[number]
        for generation in self.one_of(worker, pick):
            done = how == "DONE"
            ending = Ending(Status.DONE, "stop") if done else Ending.error("provider_cut")
            if done:
                self.said_done.add((generation.id, generation.attempt))
            if not answered:  # the commit's outcome does not come back, so it is tried again
                messages.finish(self.db, worker.owner, generation.to_save(), ending)
            self.end(worker, generation, Interrupted(ending))

    @rule(number=workers)
    def drain(self, number: int) -> None:
        worker = self.workers[number]
        for generation in list(worker.running):
            gone = Interrupted(Ending.error("worker_shutdown"), release=True)
            self.end(worker, generation, gone)

    @rule(number=workers, seen=st.booleans())
    def kill(self, number: int, seen: bool) -> None:
        dead, self.workers[number] = self.workers[number], Worker(self.ground)
        if seen:
            self.ground.sweep(lease=1e6).run(died=dead.boot)

    def end(self, worker: Worker, generation: Generation, how: Interrupted) -> None:
        worker.writer._finished(generation, how)
        worker.running.remove(generation)

    def notice(self, worker: Worker) -> None:
        """What interrupts a generation reaches it."""
        for generation in list(worker.running):
            if generation._interruption is not None:
                self.end(worker, generation, generation._interruption)

    # --- R5, R6: time passes, and what is done about it

    @precondition(lambda self: self.ids)
    @rule(pick=picks, hard=st.sampled_from([False, False, False, True]))
    def the_lease_passes(self, pick: int, hard: bool) -> None:
        self.pass_by(self.message(pick), "STREAMING", "hard_deadline" if hard else "lease_until")

    @precondition(lambda self: self.ids)
    @rule(pick=picks)
    def the_queue_forgets(self, pick: int) -> None:
        self.pass_by(self.message(pick), "SENDING", "dispatch_at")

    @precondition(lambda self: self.ids)
    @rule(pick=picks, half=st.sampled_from([False, False, True]))
    def sweep(self, pick: int, half: bool) -> None:
        if half:  # it dies between the fence and the commit
            row = self.ground.row(self.message(pick))
            if row.status == "STREAMING":
                self.pass_by(row.id, "STREAMING", "lease_until")
                self.livelog.fence(row.id, row.attempt)
        else:
            self.ground.sweep().run()

    # --- R7

    @precondition(lambda self: self.ids)
    @rule(pick=picks)
    def stop(self, pick: int) -> None:
        messages.stop(self.db, self.message(pick), self.user)

    # --- Redis forgets

    @rule()
    def lose_redis(self) -> None:
        self.ground.redis.flushdb()
        self.lossy.update(set(self.ids) - set(self.ended))

    @rule()
    def lose_the_script(self) -> None:
        self.ground.redis.script_flush()

    # --- readers

    @precondition(lambda self: self.ids)
    @rule(pick=picks)
    def follow(self, pick: int) -> None:
        self.readers.append(Reader(self.message(pick), self.user))

    @precondition(lambda self: self.readers)
    @rule(pick=picks)
    def read(self, pick: int) -> None:
        reader = self.readers[pick % len(self.readers)]
        self.listen()
        if reader.followed.end is None:
            reader.followed.hear([])
            reader.followed.read(self.db, self.livelog)
            self.show(reader)

    @precondition(lambda self: self.readers)
    @rule(pick=picks, lost=st.sampled_from([False, False, True]))
    def hear(self, pick: int, lost: bool) -> None:
        self.listen()
        reader = self.readers[pick % len(self.readers)]
        if reader.heard and reader.followed.end is None:
            deltas = reader.heard.pop(0)
            if not lost and not reader.followed.hear(deltas):
                reader.followed.read(self.db, self.livelog)
            self.show(reader)

    def listen(self) -> None:
        """Whatever was announced, to the readers of its message."""
        self.subscription.ping()
        while (heard := self.subscription.listen(10)) and heard.kind != "pong":
            if heard.kind == "message":
                for reader in self.readers:
                    if reader.followed.id == message_of(heard.channel):
                        reader.heard.append(decode(heard.payload))
        assert heard is not None

    def show(self, reader: Reader) -> None:
        """What was shown never changes: it only grows, for everybody alike."""
        message_id, body = reader.followed.id, reader.followed.body
        before = self.shown.setdefault(message_id, Body())
        if body.length <= before.length:
            assert is_prefix(body, before)
        else:
            assert is_prefix(before, body)
            self.shown[message_id] = Body(body.since(0))

    # --- what must hold after every step

    @invariant()
    def all_is_well(self) -> None:
        if not hasattr(self, "ids"):
            return
        rows = self.db.rows(
            f"{SELECT} WHERE m.user_id = :user AND role = 'assistant'", user=self.user
        )
        assert sum(row.status not in TERMINAL for row in rows) <= CAP
        for row in rows:
            self.row_is_well(row, to_message(row))

    def row_is_well(self, row: Any, message: Message) -> None:
        assert row.tries <= MAX_TRIES
        claims = [attempt for one, attempt in self.written if one == row.id]
        last = max(claims, default=0)
        writer = self.written.get((row.id, last), Body())
        assert is_prefix(message.body, writer)  # one writer: the last that claimed it
        if message.status == Status.STREAMING:
            assert row.attempt == last
        if message.status == Status.SENDING:
            assert message.body.length == 0
        if message.status in TERMINAL:
            before = self.ended.setdefault(row.id, row)
            assert row == before
            self.end_is_well(message, writer, (row.id, last))

    def end_is_well(self, message: Message, writer: Body, claim: tuple[uuid.UUID, int]) -> None:
        if message.status == Status.DONE:
            assert claim in self.said_done
            assert message.body.since(0) == writer.since(0)
        shown = self.shown.get(message.id, Body())
        if message.id in self.lossy:
            assert is_prefix(message.body, shown) or is_prefix(shown, message.body)
        else:
            assert is_prefix(shown, message.body)

    # --- and in the end

    def teardown(self) -> None:
        if not hasattr(self, "ids"):
            return
        self.workers = []  # everybody dies
        for _ in range(MAX_TRIES):
            for message_id in self.ids:
                self.pass_by(message_id, "STREAMING", "lease_until")
                self.pass_by(message_id, "SENDING", "queue_deadline")
            self.ground.sweep().run()
        assert set(messages.count_open(self.db).values()) == {0}  # nothing is stuck
        self.all_is_well()
        for reader in self.readers:
            reader.followed.read(self.db, self.livelog)
            assert reader.followed.end is not None
            self.show(reader)
        self.subscription.close()

    # --- picking

    def message(self, pick: int) -> uuid.UUID:
        """One of the newest."""
        newest = self.ids[-6:]
        return newest[pick % len(newest)]

    def one_of(self, worker: Worker, pick: int) -> list[Generation]:
        return [worker.running[pick % len(worker.running)]] if worker.running else []

    def pass_by(self, message_id: uuid.UUID, status: str, deadline: str) -> None:
        self.ground.run(
            f"UPDATE messages SET {deadline} = clock_timestamp() - interval '1 s'"
            " WHERE id = :id AND status = :status",
            id=message_id,
            status=status,
        )


def test_whoever_moves_next_the_promise_holds(
    tables: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "FINISH_PAUSE", 0)
    monkeypatch.setattr(Interleavings, "ground", tables, raising=False)

    run_state_machine_as_test(Interleavings, settings=thorough(40, steps=40))
