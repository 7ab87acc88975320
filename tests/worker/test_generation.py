"""An answer of which Postgres takes nothing: it grows in memory, but not for ever."""

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
from shared.store.messages import Ending
from shared.store.owning import Claim
from worker import generation as module
from worker import saver
from worker.generation import UNSAVED_MAX, Generation, Interrupted
from worker.saver import _waiting_since, _within_one_statement
from worker.writer import STORAGE_PATIENCE, Writer

WHOLE = "x" * UNSAVED_MAX


def _generation() -> Generation:
    claim = Claim(uuid.uuid4(), 1, "model", {}, 0.0, uuid.uuid4())
    return Generation(claim, limit=10 * UNSAVED_MAX, grown=lambda _: None)


@pytest.fixture
def full() -> Iterator[tuple[Generation, gevent.Greenlet]]:
    """A generation whose provider is held up, as nothing of it could be saved."""
    generation = _generation()

    def read() -> str:
        try:
            with generation.interruptible():
                generation.write("text", WHOLE[:-1])  # there is room for more
                generation.write("text", "y")
        except Interrupted as interruption:
            generation.write("text", "z")  # what it had in hand
            return str(interruption.ending)
        return "read on"

    reader = gevent.spawn(read)
    gevent.sleep(0)
    assert generation.body.length == UNSAVED_MAX
    yield generation, reader
    reader.kill()


def test_the_provider_is_read_on_when_a_save_has_made_room(
    full: tuple[Generation, gevent.Greenlet],
) -> None:
    generation, reader = full
    assert generation.waits_for_storage
    begun = time.monotonic()

    generation.saved_to(0, begun)  # the lease only
    gevent.sleep(0)
    assert not reader.ready()

    generation.saved_to(1, begun)
    assert reader.get(timeout=5) == "read on"
    assert generation.progress >= begun  # it was not the provider that was silent


def test_who_waits_for_postgres_can_be_interrupted(
    full: tuple[Generation, gevent.Greenlet],
) -> None:
    generation, reader = full
    ending = Ending.error("storage")

    generation.interrupt(Interrupted(ending))

    assert reader.get(timeout=5) == str(ending)
    assert generation.body.length == UNSAVED_MAX + 1


def test_a_provider_is_not_blamed_for_what_postgres_holds_up() -> None:
    nothing: Any = None
    settings = Settings.model_validate({"first_token_seconds": 1, "stall_seconds": 1})
    writer = Writer(settings, nothing, nothing, nothing)
    generation = _generation()
    now = time.monotonic()
    generation.progress = now - 20

    assert writer._too_long(generation) == "provider_stalled"
    generation.waits_for_storage = True
    assert writer._too_long(generation) is None
    generation.renewed = now - STORAGE_PATIENCE - 1
    assert writer._too_long(generation) == "storage"
    generation.claimed = now - settings.hard_deadline_seconds - 1
    assert writer._too_long(generation) == "deadline"


def test_nobody_is_blamed_for_the_time_in_which_this_process_stood_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing: Any = None
    settings = Settings.model_validate({"first_token_seconds": 1, "stall_seconds": 1})
    writer = Writer(settings, nothing, nothing, nothing)
    generation = _generation()
    clock = Clock()
    monkeypatch.setattr(awake, "_clock", clock)
    clock.look()

    generation.progress = generation.renewed = generation.claimed = time.monotonic() - 10_000
    clock._pauses.appendleft((time.monotonic(), 10_000))

    assert writer._too_long(generation) is None


def test_one_statement_renews_all_and_carries_so_much_the_oldest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(saver, "STATEMENT_MAX", 1000)
    quiet, young, old, oldest = (_generation() for _ in range(4))
    for generation, size, since in ((young, 300, 3.0), (old, 700, 2.0), (oldest, 400, 1.0)):
        generation.write("reasoning", "r" * 100)
        generation.write("text", "t" * (size - 100))
        generation.unsaved_since = since
    due = sorted([quiet, young, old, oldest], key=_waiting_since)

    saves = _within_one_statement(due)

    assert [save.id for save in saves] == [one.id for one in (oldest, old, young, quiet)]
    assert [save.reaches for save in saves] == [400, 600, 0, 0]
    for save, generation in zip(saves, due, strict=True):
        body = Body(save.deltas)
        assert generation.body.content.startswith(body.content)
        generation.saved_to(save.reaches, 4.0)
    assert (oldest.unsaved_since, old.unsaved_since, young.unsaved_since) == (None, 4.0, 3.0)
    assert sorted(due, key=_waiting_since)[0] is young  # the next statement begins with it


def test_a_save_goes_on_where_the_last_one_was_cut() -> None:
    generation = _generation()
    generation.write("reasoning", "Hm, 😀")
    generation.write("text", "All of it.")
    body = Body()

    while generation.unsaved:
        save = generation.to_save(4)
        assert 0 < save.reaches - save.offset <= 4
        for delta in save.deltas:
            body.append(delta)
        generation.saved_to(save.reaches, time.monotonic())

    assert [(part.kind, part.text) for part in body.parts] == [
        ("reasoning", "Hm, 😀"),
        ("text", "All of it."),
    ]
    assert module.UNSAVED_MAX < saver.STATEMENT_MAX
