"""An answer that Postgres does not save: it grows in memory up to a limit."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from shared import awake
from shared.awake import Clock
from shared.body import Body
from shared.settings import Settings
from shared.store.ending import Ending
from shared.store.owning import Claim
from worker import generation as module
from worker import saver
from worker.finisher import STORAGE_PATIENCE
from worker.generation import LOST, UNSAVED_MAX, Generation, Interrupted, Result
from worker.saver import _waiting_since, _within_one_statement
from worker.writer import Writer

FULL = "x" * UNSAVED_MAX


def _generation() -> Generation:
    claim = Claim(uuid.uuid4(), 1, "model", {}, 0.0, uuid.uuid4())
    return Generation(claim, limit=10 * UNSAVED_MAX, grown=lambda _: None)


def _writer() -> Writer:
    nothing: Any = None
    settings = Settings.model_validate({"first_token_seconds": 1, "stall_seconds": 1})
    return Writer(settings, nothing, nothing, nothing)


@pytest.fixture
def full() -> Iterator[tuple[Generation, gevent.Greenlet]]:
    """A generation that waits for Postgres, and its greenlet."""
    generation = _generation()

    def read() -> Result | str:
        try:
            with generation.reading.interruptible():
                generation.write("text", FULL[:-1])  # one character is left
                generation.write("text", "y")
        except Interrupted as interruption:
            generation.write("text", "z")  # text at hand is written without a wait
            return interruption.result
        return "read on"

    reading = gevent.spawn(read)
    gevent.sleep(0)
    assert generation.body.length == UNSAVED_MAX
    yield generation, reading
    reading.kill()


def test_the_provider_is_read_on_once_a_save_has_made_room(
    full: tuple[Generation, gevent.Greenlet],
) -> None:
    generation, reading = full
    assert generation.waits_for_storage
    begun = time.monotonic()

    generation.save_state.saved_to(0, begun)  # only a renewal
    gevent.sleep(0)
    assert not reading.ready()

    generation.save_state.saved_to(1, begun)
    assert reading.get(timeout=5) == "read on"
    assert generation.progress >= begun  # the wait does not count as the provider's silence


def test_a_generation_that_waits_for_postgres_can_be_interrupted(
    full: tuple[Generation, gevent.Greenlet],
) -> None:
    generation, reading = full
    result = Result(Ending.error("storage"))

    generation.reading.interrupt(result)
    generation.reading.interrupt(LOST)  # only the first result counts

    assert reading.get(timeout=5) == result
    assert generation.body.length == UNSAVED_MAX + 1


def test_an_interruption_before_the_reading_begins_is_not_lost() -> None:
    generation = _generation()
    generation.reading.interrupt(LOST)

    with pytest.raises(Interrupted), generation.reading.interruptible():
        pytest.fail("it was read")


def test_a_wait_for_postgres_is_not_a_stall_of_the_provider() -> None:
    writer, generation = _writer(), _generation()
    now = time.monotonic()
    generation.progress = now - 20

    assert writer._exceeded_limit(generation) == "provider_stalled"
    generation.waits_for_storage = True
    assert writer._exceeded_limit(generation) is None
    generation.save_state.renewed = now - STORAGE_PATIENCE - 1
    assert writer._exceeded_limit(generation) == "storage"
    generation.claimed = now - Settings().hard_deadline_seconds - 1
    assert writer._exceeded_limit(generation) == "deadline"
    generation.outbox.closed = True
    assert writer._exceeded_limit(generation) is None  # its end is being written


def test_time_in_which_the_process_was_suspended_exceeds_no_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer, generation = _writer(), _generation()
    clock = Clock()
    monkeypatch.setattr(awake, "_clock", clock)
    clock.tick()

    long_ago = time.monotonic() - 10_000
    generation.progress = generation.save_state.renewed = generation.claimed = long_ago
    clock._pauses.appendleft((time.monotonic(), 10_000))

    assert writer._exceeded_limit(generation) is None


def test_one_statement_renews_every_lease_and_carries_the_oldest_text_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(saver, "STATEMENT_MAX", 1000)
    quiet, young, old, oldest = (_generation() for _ in range(4))
    for generation, size, since in ((young, 300, 3.0), (old, 700, 2.0), (oldest, 400, 1.0)):
        generation.write("reasoning", "r" * 100)
        generation.write("text", "t" * (size - 100))
        generation.save_state.unsaved_since = since
    states = [one.save_state for one in (quiet, young, old, oldest)]
    due = sorted(states, key=_waiting_since)

    saves = _within_one_statement(due)

    assert [save.id for save in saves] == [one.id for one in (oldest, old, young, quiet)]
    assert [save.reaches for save in saves] == [400, 600, 0, 0]
    for save, generation in zip(saves, (oldest, old, young, quiet), strict=True):
        body = Body(save.deltas)
        assert generation.body.content.startswith(body.content)
        generation.save_state.saved_to(save.reaches, 4.0)
    unsaved_since = [one.save_state.unsaved_since for one in (oldest, old, young)]
    assert unsaved_since == [None, 4.0, 3.0]
    assert sorted(due, key=_waiting_since)[0] is young.save_state  # first in the next statement


def test_a_save_continues_where_the_last_one_was_cut() -> None:
    generation = _generation()
    generation.write("reasoning", "Hm, 😀")
    generation.write("text", "All of it.")
    state, body = generation.save_state, Body()

    while state.unsaved:
        save = state.to_save(4)
        assert 0 < save.reaches - save.offset <= 4
        for delta in save.deltas:
            body.append(delta)
        state.saved_to(save.reaches, time.monotonic())

    assert [(part.kind, part.text) for part in body.parts] == [
        ("reasoning", "Hm, 😀"),
        ("text", "All of it."),
    ]
    assert module.UNSAVED_MAX < saver.STATEMENT_MAX
