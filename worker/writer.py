"""Writes answers: claims a message, has the provider's stream written into it, and ends it.

    claim ─▶ open the live log ─▶ provider ─▶ Generation.write ─▶ finish ─▶ announce

It guarantees that every message that it claims is finished once, given back to the queue, or known
to be another's. An answer is DONE only if the provider said explicitly that it was complete, or if
it reached our own limit (then its finish reason is `length`). Any other end is ERROR with a code,
or CANCELLED, and the text that was received is kept.

How. Each answer has one greenlet, which reads the provider; a Celery task runs in it, or `take`
starts it. All answers share the publisher, the saver and the watch. What ends an answer early
interrupts its greenlet with a Result (see generation.py), and the first result counts.

When something fails:

* Postgres, at a claim: it may have landed. The caller gets StorageDown, and the claim, which no
  worker would write, is given back as soon as Postgres answers, if that is within a lease.
* Postgres, later: text is kept in memory, up to a limit at which the provider is not read on. After
  STORAGE_PATIENCE without a renewal the answer ends with `storage`.
* Redis: nothing changes here. Readers are shown what is saved, and Stop arrives with the next save.
* The provider: a cut, an error or nonsense is ERROR with a code of its own (see client.py). Silence
  is ended by the watch: nothing new for too long is `provider_stalled`, and the whole answer has a
  deadline.
* This process: if it dies, the sweep of another worker ends its answers; if it is stopped, `drain`
  lets them run on and then interrupts the rest. Time in which the whole process was suspended
  does not count towards any limit (see awake.py).

Invariant: a generation is finished in its own greenlet, after the reading of the provider ended and
the saver let go of it. So nothing is appended to an answer whose end is being written.
"""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import gevent
import structlog

from shared import awake
from shared.bus.livelog import LiveLog
from shared.errors import GenerationFailed, StorageDown
from shared.lifecycle import Status
from shared.settings import Settings
from shared.store import files, owning
from shared.store.database import Database
from shared.store.ending import Ending
from shared.store.owning import Claim, StoredState
from shared.store.turns import Turns
from worker import finisher, metrics
from worker.finisher import STORAGE_PATIENCE, Finisher
from worker.generation import SHUTDOWN, Generation, Interrupted, Result, TooLong
from worker.provider import prompt
from worker.provider.client import ChatRequest, Provider
from worker.publisher import Publisher
from worker.saver import Saver

#: Seconds between two checks of a drain, and between two checks of the time limits.
DRAIN_PAUSE: Final = 0.1
WATCH_SECONDS: Final = 0.2

log = structlog.get_logger("generation")


class Writer:
    """All answers that this process writes."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        livelog: LiveLog,
        provider: Provider,
        owner: str | None = None,
        *,
        enqueue: Callable[[uuid.UUID], bool] = lambda _: False,
        send_next: Callable[[uuid.UUID], None] = lambda _: None,
    ) -> None:
        """`owner`: the name that holds the leases, if not the settings' one.

        `enqueue` takes the questions whose turn comes when an answer ends, `send_next` the
        conversation whose line moves then; what they do not do, a sweep does.
        """
        self._settings = settings
        self._db = db
        self._provider = provider
        self._owner = owner or settings.owner
        self._running: dict[uuid.UUID, Generation] = {}
        #: messages being written, or about to be: each takes one of the worker's places
        self._busy = 0
        self._draining = False
        #: seconds that a drain leaves to running answers. Not a local variable of `drain`: its
        #: second call also shortens the first, which still waits
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
        turns = Turns(settings.running, settings.queue_deadline_seconds)
        self.finisher = Finisher(
            db,
            self._owner,
            turns,
            self.publisher,
            self.saver,
            enqueue=enqueue,
            send_next=send_next,
        )

    # --- one message

    def write(self, message_id: uuid.UUID) -> Ending | None:
        """Write a message to its end, and return that; None if it is not ours to write.

        Raises StorageDown before the claim; then the sweep dispatches the message again.
        """
        if self.draining:
            return None
        self._busy += 1
        try:
            return self._write(message_id)
        finally:
            self._busy -= 1

    def take(self, message_id: uuid.UUID) -> bool:
        """Start to write a message in a greenlet of its own; False if no place is free.

        For the sweep, while the queue does not work.
        """
        if self.draining or self._busy >= self._settings.worker_concurrency:
            return False
        self._busy += 1  # now, as the greenlet begins later than the next call may come
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
        self.saver.add(generation.save_state)
        try:
            return self.finisher.finish(generation, self._generate(claim, generation))
        finally:
            # Not if this process has claimed the message again: then the newer one runs.
            if self._running.get(claim.id) is generation:
                del self._running[claim.id]

    def _claim(self, message_id: uuid.UUID) -> Claim | None:
        """Claim a message; None if it is taken already or has ended.

        Raises StorageDown. A claim that landed all the same is given back, see `_disclaim`.
        """
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
        """Give back a claim that may have landed; after these seconds its lease has lapsed."""
        begun = time.monotonic()
        while awake.since(begun) < seconds:
            gevent.sleep(finisher.STORAGE_PAUSE)
            with suppress(StorageDown):
                self.finisher.release(message_id, token)
                return

    def _generate(self, claim: Claim, generation: Generation) -> Result:
        """Have the answer written. Whatever happens, it is a Result."""
        self.publisher.open(generation.outbox)
        try:
            request = self._request(claim)
            with generation.reading.interruptible():
                retrying = partial(self.publisher.report_retrying, generation.outbox)
                reply = self._provider.stream(request, generation.write, retrying)
        except Interrupted as interruption:
            return interruption.result
        except TooLong:
            return Result(Ending(Status.DONE, "length", generation.estimated_usage()))
        except GenerationFailed as failure:
            return Result(Ending.error(failure.code, failure.message, failure.upstream))
        except gevent.GreenletExit:  # Celery terminated the task
            return SHUTDOWN
        except StorageDown:  # while it loaded the question's files
            return Result(Ending.error("storage"), release=True)
        except Exception:  # a bug of ours must not leave a message open
            log.exception("generation.bug", message_id=str(claim.id))
            return Result(Ending.error("worker_lost"))
        return Result(Ending(Status.DONE, reply.finish_reason or "stop", reply.usage))

    def _request(self, claim: Claim) -> ChatRequest:
        most = self._settings.history_chars
        found = files.load_own(self._db, claim.user_id, prompt.file_ids(claim.path, most))
        turns = prompt.build(claim.system, claim.path, most, found)
        return ChatRequest(claim.model, turns, claim.options)

    def stored_state(self, message_id: uuid.UUID) -> StoredState:
        """The state of a message that another worker writes, or wrote. Raises StorageDown."""
        return owning.stored_state(self._db, message_id)

    # --- running answers

    def _grown(self, generation: Generation) -> None:
        self.publisher.add(generation.outbox)
        self.saver.grown(generation.save_state)

    def _renewed(self, message_id: uuid.UUID) -> None:
        """Send text that the publisher held back while the lease had lapsed."""
        generation = self._running.get(message_id)
        if generation is not None and generation.outbox.unsent:
            self.publisher.add(generation.outbox)

    def stop(self, message_id: uuid.UUID) -> None:
        """Interrupt a running answer if its row says that a stop was requested."""
        generation = self._running.get(message_id)
        if generation is None:
            return
        row = owning.lease_state(self._db, self._owner, [message_id]).get(message_id)
        if row is not None and row.claim == generation.claim and row.stop_requested:
            generation.reading.interrupt(Result(Ending(Status.CANCELLED)))

    @property
    def draining(self) -> bool:
        """Whether it takes nothing new."""
        return self._draining

    def drain(self, seconds: float) -> None:
        """Take nothing new, and return when nothing is being written any more.

        Answers that still run after `seconds` are interrupted; at a second call all are, at once.
        """
        again, self._draining = self._draining, True
        self._drain_seconds = 0.0 if again else seconds
        begun = time.monotonic()
        while self._busy:
            if awake.since(begun) >= self._drain_seconds:
                for generation in list(self._running.values()):
                    generation.reading.interrupt(SHUTDOWN)
            gevent.sleep(DRAIN_PAUSE)

    def watch(self) -> None:
        """Interrupt answers that take too long. Runs for ever."""
        while True:
            gevent.sleep(WATCH_SECONDS)
            self.publisher.poll()
            for generation in list(self._running.values()):
                code = self._exceeded_limit(generation)
                if code:
                    generation.reading.interrupt(Result(Ending.error(code)))

    def _exceeded_limit(self, generation: Generation) -> str | None:
        """The error code of the time limit that it exceeded, if any."""
        settings = self._settings
        if generation.outbox.closed:  # its end is being written
            return None
        if awake.since(generation.claimed) > settings.hard_deadline_seconds:
            return "deadline"
        if awake.since(generation.save_state.renewed) > STORAGE_PATIENCE:
            return "storage"
        if generation.waits_for_storage:
            return None
        patience = settings.stall_seconds if generation.first_text else settings.first_token_seconds
        return "provider_stalled" if awake.since(generation.progress) > patience else None
