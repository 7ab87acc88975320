"""The writer: takes a message, has the provider's stream written into it, and ends it honestly.

    claim ─▶ open the live log ─▶ provider ─▶ Generation.write ─▶ finish ─▶ wake

One writer a process; it owns the publisher, the saver and every running generation.
"""

import re
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import Final

import gevent
import structlog

from shared import awake
from shared.bus.livelog import LiveLog
from shared.errors import GenerationFailed, StorageDown
from shared.lifecycle import Status
from shared.settings import Settings
from shared.store import owning
from shared.store.database import Database
from shared.store.messages import Ending
from shared.store.owning import Claim, Outcome
from worker import metrics
from worker.generation import Generation, Interrupted, TooLong
from worker.provider import prompt
from worker.provider.client import Provider, Request
from worker.publisher import Publisher
from worker.saver import Saver

#: Seconds that Postgres may be away before an answer's end becomes "could not be saved".
STORAGE_PATIENCE: Final = 60.0
#: Seconds between tries of what Postgres has to do at an end, of a drain to be over,
#: and between looks at the clocks.
STORAGE_PAUSE: Final = 0.25
DRAIN_PAUSE: Final = 0.1
WATCH_SECONDS: Final = 0.2

log = structlog.get_logger("generation")


class Writer:
    """Everything this process writes."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        livelog: LiveLog,
        provider: Provider,
        owner: str | None = None,
    ) -> None:
        """`owner`: the name under which it holds leases, if not the settings'."""
        self._settings = settings
        self._db = db
        self._provider = provider
        self._owner = owner or settings.owner
        self._running: dict[uuid.UUID, Generation] = {}
        #: calls of `write` under way; whether it takes nothing new, and the seconds they have then
        self._busy = 0
        self._draining = False
        self._drain_seconds = 0.0
        lease = settings.lease_seconds
        self.publisher = Publisher(db, livelog, self._owner, lease, metrics.published)
        self.saver = Saver(
            db,
            self._owner,
            lease=lease,
            heartbeat=settings.heartbeat_seconds,
            chars=settings.save_chars,
            seconds=settings.save_seconds,
            renewed=self._renewed,
            observe=metrics.saved,
        )

    # --- one message

    def outcome(self, message_id: uuid.UUID) -> Outcome:
        """How a message stands that is not ours to write. Raises StorageDown."""
        return owning.outcome(self._db, message_id)

    @property
    def draining(self) -> bool:
        """Whether it takes nothing new."""
        return self._draining

    def write(self, message_id: uuid.UUID) -> Ending | None:
        """Write a message to its end, which is returned; None if it is not ours to write.

        Raises StorageDown before it is claimed: the sweep hands it out again.
        """
        if self.draining:
            return None
        self._busy += 1
        try:
            return self._write(message_id)
        finally:
            self._busy -= 1

    def take(self, message_id: uuid.UUID) -> bool:
        """Write a message that the queue cannot carry, beside this; False if no place is free."""
        if self.draining or self._busy >= self._settings.worker_concurrency:
            return False
        self._busy += 1  # now: the greenlet begins later, and the next one asks at once
        gevent.spawn(self._write_taken, message_id)
        return True

    def _write_taken(self, message_id: uuid.UUID) -> None:
        try:
            self._write(message_id)
        except StorageDown as error:
            log.warning("take.waits", message_id=str(message_id), code=error.code)
        except Exception:
            log.exception("take.bug", message_id=str(message_id))
        finally:
            self._busy -= 1

    def _write(self, message_id: uuid.UUID) -> Ending | None:
        claim = self._claim(message_id)
        if claim is None:
            return None
        metrics.QUEUE_WAIT.observe(claim.waited)
        generation = Generation(claim, limit=self._settings.answer_chars, grown=self._grown)
        self._running[claim.id] = generation
        self.saver.add(generation)
        try:
            return self._finished(generation, self._generate(claim, generation))
        finally:
            if self._running.get(claim.id) is generation:
                del self._running[claim.id]

    def _claim(self, message_id: uuid.UUID) -> Claim | None:
        lease, deadline = self._settings.lease_seconds, self._settings.hard_deadline_seconds
        token = owning.new_token()
        try:
            return owning.claim(
                self._db,
                message_id,
                self._owner,
                lease,
                deadline,
                token=token,
                history=self._settings.history_chars,
            )
        except StorageDown:
            gevent.spawn(self._disclaim, message_id, token, lease)
            raise

    def _disclaim(self, message_id: uuid.UUID, token: uuid.UUID, seconds: float) -> None:
        """A claim of unknown outcome: if it landed, give it back, since nobody writes it."""
        begun = time.monotonic()
        while awake.since(begun) < seconds:
            gevent.sleep(STORAGE_PAUSE)
            with suppress(StorageDown):
                self._release(message_id, token)
                return

    def _generate(self, claim: Claim, generation: Generation) -> Interrupted:
        """Have the answer written; how that ended, whatever happened."""
        self.publisher.open(generation)
        try:
            request = self._request(claim)
            with generation.interruptible():
                reply = self._provider.stream(request, generation.write)
        except Interrupted as interruption:
            return interruption
        except TooLong:
            return Interrupted(Ending(Status.DONE, "length", _estimate(generation)))
        except GenerationFailed as failure:
            return Interrupted(Ending.error(failure.code, failure.message))
        except gevent.GreenletExit:  # somebody terminated the task
            return Interrupted(Ending.error("worker_shutdown"), release=True)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not leave a message open
            log.error("generation.bug", message_id=str(claim.id), error=type(error).__name__)
            return Interrupted(Ending.error("worker_lost"))
        return Interrupted(Ending(Status.DONE, reply.finish_reason or "stop", reply.usage))

    def _request(self, claim: Claim) -> Request:
        turns = prompt.build(claim.system, claim.path, self._settings.history_chars)
        return Request(claim.model, turns, claim.options)

    def _finished(self, generation: Generation, end: Interrupted) -> Ending | None:
        """Write the end, however long Postgres takes; None if the message is not ours any more."""
        self.saver.remove(generation)
        ending = end.ending
        if ending is None:
            self._tell(generation, None)
            return None
        if ending.status != Status.DONE:  # not before: the reply writes its rest when it closes
            ending = replace(ending, usage=_estimate(generation))
        if end.release and not generation.body.length and self._released(generation):
            return None
        if generation.first_text is not None:
            ending = replace(ending, first_text=generation.first_text - generation.claimed)
        written = self._persist(generation, ending)
        self.publisher.end(generation)
        self._tell(generation, written)
        return written

    def _released(self, generation: Generation) -> bool:
        with suppress(StorageDown):
            return self._release(generation.id, generation.claim)
        return False

    def _release(self, message_id: uuid.UUID, token: uuid.UUID) -> bool:
        deadline = self._settings.queue_deadline_seconds
        return owning.release(self._db, self._owner, message_id, token, deadline)

    def _persist(self, generation: Generation, ending: Ending) -> Ending | None:
        """Until it is written or the row is not ours: an end must not be lost to a restart."""
        begun = time.monotonic()
        while True:
            try:
                if owning.finish(self._db, self._owner, generation.to_save(), ending):
                    return ending
                if not self._still_ours(generation):
                    landed = owning.has_ended(
                        self._db, generation.id, generation.claim, generation.attempt
                    )
                    return ending if landed else None
            except StorageDown:
                if awake.since(begun) > STORAGE_PATIENCE:
                    ending = Ending.error("storage")
            gevent.sleep(STORAGE_PAUSE)

    def _still_ours(self, generation: Generation) -> bool:
        row = owning.lease_state(self._db, self._owner, [generation.id]).get(generation.id)
        if row is None or row.claim != generation.claim:
            return False
        if row.saved > generation.saved:  # an earlier commit of unknown outcome had landed
            generation.saved_to(row.saved, time.monotonic())
        elif row.saved < generation.saved:  # Postgres went back
            generation.save_again(row.saved)
        return True

    def _tell(self, generation: Generation, ending: Ending | None) -> None:
        """The life of a generation in one line, without a word of its text."""
        now = time.monotonic()
        first = generation.first_text
        status = ending.status if ending else "LOST"
        metrics.generation(
            status,
            ending.error_code if ending else None,
            generation.body.length,
            first - generation.claimed if first else None,
            now - generation.claimed,
        )
        log.info(
            "generation",
            message_id=str(generation.id),
            attempt=generation.attempt,
            status=status,
            finish_reason=_word(ending.finish_reason) if ending else None,
            code=ending.error_code if ending else None,
            characters=generation.body.length,
            first_text=round(first - generation.claimed, 3) if first else None,
            seconds=round(now - generation.claimed, 3),
        )

    # --- what concerns running ones

    def _grown(self, generation: Generation) -> None:
        self.publisher.add(generation)
        self.saver.grown(generation)

    def _renewed(self, generation: Generation) -> None:
        if generation.sent < generation.body.length:
            self.publisher.add(generation)

    def stop(self, message_id: uuid.UUID) -> None:
        """Somebody may want it stopped: the row tells."""
        generation = self._running.get(message_id)
        if generation is None:
            return
        row = owning.lease_state(self._db, self._owner, [message_id]).get(message_id)
        if row is not None and row.claim == generation.claim and row.stop_requested:
            generation.interrupt(Interrupted(Ending(Status.CANCELLED)))

    def drain(self, seconds: float) -> None:
        """Take nothing new; returns when nothing is being written any more.

        What still is after `seconds` is interrupted. Asked a second time: at once.
        """
        again, self._draining = self._draining, True
        self._drain_seconds = 0.0 if again else seconds
        begun = time.monotonic()
        while self._busy:
            if awake.since(begun) >= self._drain_seconds:
                for generation in list(self._running.values()):
                    ending = Ending.error("worker_shutdown")
                    generation.interrupt(Interrupted(ending, release=True))
            gevent.sleep(DRAIN_PAUSE)

    def watch(self) -> None:
        """Interrupt what takes too long, for ever. Only new text counts as progress.

        Time in which this process stood still is nobody's fault: see `awake`.
        """
        while True:
            gevent.sleep(WATCH_SECONDS)
            self.publisher.look()
            for generation in list(self._running.values()):
                code = self._too_long(generation)
                if code:
                    generation.interrupt(Interrupted(Ending.error(code)))

    def _too_long(self, generation: Generation) -> str | None:
        settings = self._settings
        if generation.closing:
            return None
        if awake.since(generation.claimed) > settings.hard_deadline_seconds:
            return "deadline"
        if awake.since(generation.renewed) > STORAGE_PATIENCE:
            return "storage"
        if generation.waits_for_storage:
            return None
        patience = settings.stall_seconds if generation.first_text else settings.first_token_seconds
        return "provider_stalled" if awake.since(generation.progress) > patience else None


def _estimate(generation: Generation) -> dict[str, int | str] | None:
    """Tokens of a partial answer, at four characters each: no provider will tell them."""
    if not generation.body.length:
        return None
    return {"completion_tokens": -(-generation.body.length // 4), "source": "estimated"}


def _word(reason: str | None) -> str | None:
    """A finish reason for the log: what is no plain word may be anybody's text."""
    return reason if reason is None or re.fullmatch("[A-Za-z_]{1,40}", reason) else "other"
