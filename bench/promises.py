"""The promised seconds, measured: how soon things happen, as percentiles beside each promise.

The tests assert what happens and in which order, and wait as long as a busy machine needs. How soon
it happens is measured here, on real processes with the default settings, and by `outlive drill`
(from a worker's death until its readers know, under every other fault). Run it on a machine that
has nothing else to do: a promise that a sample missed is marked, and the exit status is 1.

The file is long because it is a list: one function for each promise.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from drill.percentiles import percentiles
from local import data_dirs
from local.processes import children
from local.programs import Web
from scripted import done, finish, hold, long, say, script, usage
from shared.body import Delta
from shared.store import owning
from tests.client import Client, Disconnected, Reading, new_id
from tests.credentials import new_key, operate, serving_keys, sign_in_settings
from tests.cutting import CuttingProxy
from tests.end_to_end.test_revoked_readers import Reader
from tests.end_to_end.test_up import OTHERS, PARTS, Up
from tests.rig import Rig, eventually, frozen, killing
from tests.stories import NEVER, following, only_request, start_worker, sweep

WELL: Final = (finish(), usage(), done())
#: Samples of what is measured one by one, and readers that are measured at once.
SAMPLES: Final = 20
READERS: Final = 20
STORM: Final = 300
#: Seconds after which every reader is back; those that come later are measured by it at least.
LONGEST_AWAY: Final = 5.0


class Promise(NamedTuple):
    """What is promised, and in how many seconds."""

    name: str
    seconds: float


class Service(NamedTuple):
    """A rig with one web master of two processes and one worker."""

    rig: Rig
    web: Web
    client: Client


def main() -> int:
    """Measure every promise; 1 if a sample missed one."""
    for name in [*OTHERS, *(name for name in os.environ if name.startswith("OUTLIVE_"))]:
        os.environ.pop(name, None)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # sweeps of this process
    missed = 0
    print(f"  {'seconds until':<58} {percentiles()}  promised", flush=True)
    for promise, seconds in _measured():
        late = max(seconds) > promise.seconds
        missed += late
        mark = "  MISSED" if late else ""
        line = f"  {promise.name:<58} {percentiles(seconds)} {promise.seconds:9.0f}{mark}"
        print(line, flush=True)
    return 1 if missed else 0


def _measured() -> Iterator[tuple[Promise, list[float]]]:
    with data_dirs.temporary() as home, Rig(home / "rig") as rig:
        web = rig.web()
        with Client(web.url) as client:
            service = Service(rig, web, client)
            with killing(rig.worker()):
                for promise, measure in WITH_A_WORKER.items():
                    yield promise, measure(service)
            for promise, measure in WITHOUT_A_WORKER.items():
                yield promise, measure(service)
        os.environ["OPENAI_BASE_URL"] = rig.scripted.url
        parts, ends = _up(home)
        yield Promise("a killed part of `outlive up` runs again", 2), parts
        yield Promise("`outlive up` has ended after SIGTERM", 5), ends


# --- an answer ------------------------------------------------------------------------------------


def _stop(service: Service) -> list[float]:
    seconds = []
    for _ in range(SAMPLES):
        question = script(say("A word, and"), hold(NEVER), tag=new_id())
        answer = service.client.ask(question)
        service.client.shown(answer, 11)
        pressed = time.monotonic()
        service.client.stop(answer)
        record = only_request(service.rig, question, ended=True)
        eventually(lambda answer=answer: _ended(service, answer))  # type: ignore[misc]
        assert record.closed_at is not None
        seconds.append(max(record.closed_at, time.monotonic()) - pressed)
    return seconds


def _ended(service: Service, answer: str) -> bool:
    return bool(service.client.message(answer)["status"] not in ("SENDING", "STREAMING"))


def _saved(service: Service) -> list[float]:
    seconds = []
    for _ in range(SAMPLES):
        answer = service.client.ask(script(long(7), hold(NEVER), tag=new_id()))
        service.client.shown(answer, 7)
        shown = time.monotonic()
        eventually(partial(_has_saved, service, answer))
        seconds.append(time.monotonic() - shown)
        service.client.stop(answer)
    return seconds


def _has_saved(service: Service, answer: str) -> bool:
    sql = "SELECT saved_len FROM messages WHERE id = CAST(:id AS uuid)"
    return bool(service.rig.rows(sql, id=answer)[0][0] == 7)


def _first_text_on_a_slow_link(service: Service) -> list[float]:
    answer = service.client.ask(script(say("你好世界" * 16_000, chunk=5_000), *WELL))
    service.client.ended(answer)
    seconds = []
    for _ in range(SAMPLES):
        with CuttingProxy(service.client.url, rate=8_000) as link:
            begun = time.monotonic()
            with Reading(answer, [link.url]).open() as connection:
                next(connection.events())
            seconds.append(time.monotonic() - begun)
    return seconds


# --- readers that come back -----------------------------------------------------------------------


def _follow(reading: Reading, at_once: bool) -> float:
    """Read to the end; the longest time without a connection.

    It waits as long as `retry:` asks, as EventSource does, or with `at_once` as little as it can.
    """
    longest, cut_at, retry = 0.0, 0.0, 3000
    while reading.end is None:
        try:
            with reading.open() as connection:
                if connection.status == 200 and cut_at:
                    longest, cut_at = max(longest, time.monotonic() - cut_at), 0.0
                for event in connection.events():
                    reading.take(event)
                retry = connection.decoder.retry or retry
        except (Disconnected, OSError):
            pass
        cut_at = cut_at or time.monotonic()
        if reading.end is None:
            time.sleep(0.05 if at_once else retry / 1000)
    return longest


def _away(service: Service, leave: Callable[[Web], None], *, at_once: bool) -> list[float]:
    """How long each of many readers has no connection when its web process ends."""
    name = new_id()
    web = service.rig.web()
    with killing(web), Client(web.url) as client:
        answer = client.ask(script(long(100), hold(name), *WELL, tag=name))
        readings = [client.read(answer) for _ in range(READERS)]
        with ThreadPoolExecutor(READERS) as pool:
            reads = [pool.submit(_follow, reading, at_once) for reading in readings]
            eventually(lambda: all(reading.text for reading in readings))
            leave(web)
            eventually(lambda: any(reading.connections > 1 for reading in readings))
            time.sleep(LONGEST_AWAY)
            service.rig.scripted.release(name)
            return [read.result() for read in reads]


def _back_after_a_crash(service: Service) -> list[float]:
    """One of the two processes of a master is killed: how soon its readers get in at the other one.

    After a crash `retry:` spreads the return of readers over five seconds; these try at once.
    """

    def crash(web: Web) -> None:
        os.kill(children(web.pid)[0], signal.SIGKILL)

    found = [_away(service, crash, at_once=True) for _ in range(3)]
    return [seconds for once in found for seconds in once if seconds]


def _back_after_a_deploy(service: Service) -> list[float]:
    with ExitStack() as stack:

        def deploy(old: Web) -> None:
            successor = old.successor()
            stack.enter_context(killing(successor))
            successor.start().wait()
            old.signal(signal.SIGTERM)

        return _away(service, deploy, at_once=False)


def _storm(service: Service) -> list[float]:
    """Many readers come back at the same moment: when each has its first text."""
    answer = service.client.ask(script(long(100), hold(NEVER), tag=new_id()))
    service.client.shown(answer, 100)
    begun = time.monotonic()

    def come(_: int) -> float:
        with Reading(answer, [service.web.url]).open() as connection:
            next(connection.events())
            return time.monotonic() - begun

    with ThreadPoolExecutor(STORM) as pool:
        seconds = list(pool.map(come, range(STORM)))
    service.client.stop(answer)
    return seconds


# --- workers and servers that fail ----------------------------------------------------------------


@contextmanager
def _endless(service: Service, count: int) -> Iterator[list[Reading]]:
    """Answers that nothing but a failure ends, and a reader of each."""
    answers = [
        service.client.ask(script(long(100), hold(NEVER), tag=new_id())) for _ in range(count)
    ]
    for answer in answers:
        service.client.shown(answer, 100)
    yield [service.client.read(answer) for answer in answers]


def _known(service: Service, *, named: bool) -> list[float]:
    worker = start_worker(service.rig).wait()
    with (
        killing(worker),
        _endless(service, READERS) as readings,
        ThreadPoolExecutor(READERS) as pool,
    ):
        reads = [pool.submit(_read_to_end, reading) for reading in readings]
        eventually(lambda: all(reading.text for reading in readings))
        worker.kill()
        died = time.monotonic()
        if named:
            sweep(service.rig, died=worker.boot)
        return [read.result() - died for read in reads]


def _read_to_end(reading: Reading) -> float:
    reading.to_end(60)
    return time.monotonic()


def _lets_go(service: Service) -> list[float]:
    """How soon a worker that slept for longer than its lease leaves the model when it wakes."""
    lease = {"OUTLIVE_LEASE_SECONDS": "2", "OUTLIVE_HEARTBEAT_SECONDS": "0.5"}
    worker = start_worker(service.rig, **lease).wait()
    other = start_worker(service.rig, OUTLIVE_SWEEP_SECONDS="0.5", **lease)
    name = new_id()
    with killing(worker, other):
        questions = [script(long(9_000, rate=100), tag=f"{name} {n}") for n in range(5)]
        readings = [service.client.read(service.client.ask(one)) for one in questions]
        for reading in readings:
            service.client.shown(reading.message_id)
        other.wait()
        with following(*readings), frozen(worker):
            eventually(lambda: all(_ended(service, one.message_id) for one in readings))
        woken = time.monotonic()
        records = [only_request(service.rig, one, ended=True) for one in questions]
    return [(record.closed_at or 0.0) - woken for record in records]


def _unreported(service: Service) -> list[float]:
    """A save that Redis does not announce: when its reader has the text."""
    seconds = []
    for number in range(5):
        owner = f"bench:{number}"
        answer = service.client.ask(script(hold(NEVER), tag=new_id()))
        claim = owning.claim(service.rig.db, UUID(answer), owner, 60, 900)
        assert claim is not None
        reading = service.client.read(answer)
        with ThreadPoolExecutor(1) as pool:
            read = pool.submit(_first_text, reading)
            eventually(lambda reading=reading: reading.connections)  # type: ignore[misc]
            time.sleep(0.5 * number)  # at another moment between two polls
            save = owning.Save(UUID(answer), claim.token, 0, (Delta(0, 0, "text", "Unreported."),))
            assert owning.save(service.rig.db, owner, 60, [save])
            saved = time.monotonic()
            seconds.append(read.result() - saved)
        service.client.stop(answer)
    return seconds


def _first_text(reading: Reading) -> float:
    with reading.open() as connection:
        next(connection.events())
        return time.monotonic()


def _taken_without_redis(service: Service) -> list[float]:
    """Redis is there and does not answer: how long a question waits to be accepted."""
    places = [service.client.conversation() for _ in range(SAMPLES)]

    def ask(place: str) -> float:
        begun = time.monotonic()
        service.client.ask(script(say("Later."), *WELL), place)
        return time.monotonic() - begun

    with frozen(service.rig.redis), ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, places))


def _revoked(service: Service) -> list[float]:
    """How soon the streams of a revoked key have ended, in both processes."""
    rig = service.rig
    with serving_keys() as keys:
        web = rig.web(**sign_in_settings(keys))
        with killing(web):
            return [took for _ in range(SAMPLES) for took in _revoke(rig, web)]


def _revoke(rig: Rig, web: Web) -> list[float]:
    key, key_id = new_key(rig, "ask")
    readers = [Reader(f"{web.url}/api/notices", key) for _ in range(4)]
    operate(rig, "key", "revoke", key_id)
    revoked = time.monotonic()
    eventually(lambda: not any(one.open for one in readers))
    return [max(0.0, one.ended_at - revoked) for one in readers]


# --- outlive up -----------------------------------------------------------------------------------


def _up(home: Path) -> tuple[list[float], list[float]]:
    """Parts of `outlive up` that are killed and come back, and its end."""
    back, ends = [], []
    for turn in range(3):
        up = Up(home / f"up-{turn}").wait()
        for part in PARTS:
            old, begun = up.pid(part), time.monotonic()
            os.kill(old, signal.SIGKILL)
            eventually(lambda old=old, part=part, up=up: up.pid(part) != old)  # type: ignore[misc]
            back.append(time.monotonic() - begun)
        begun = time.monotonic()
        up.signal(signal.SIGTERM)
        eventually(lambda up=up: up.process.poll() is not None)  # type: ignore[misc]
        ends.append(time.monotonic() - begun)
    return back, ends


Measurement = Callable[[Service], list[float]]
#: What is measured with one worker of the service; each gives one number a sample.
WITH_A_WORKER: Final[dict[Promise, Measurement]] = {
    Promise("Stop has closed the provider's connection and ended the row", 2): _stop,
    Promise("text of a model that went silent is saved", 2): _saved,
    Promise("a late reader has the first text at 8 kB a second", 3): _first_text_on_a_slow_link,
    Promise("a reader is back after its web process was killed", 2): _back_after_a_crash,
    Promise("a reader is back after a deploy", 2): _back_after_a_deploy,
    Promise(f"each of {STORM} readers that return at once has text", 10): _storm,
    Promise("a question is accepted while Redis does not answer", 4): _taken_without_redis,
}
#: The same, where each measurement starts the workers that it needs.
WITHOUT_A_WORKER: Final[dict[Promise, Measurement]] = {
    Promise("readers know of a dead worker that was named", 5): partial(_known, named=True),
    Promise("readers know of a dead worker by its lease alone", 20): partial(_known, named=False),
    Promise("a worker that slept leaves the model when it wakes", 2): _lets_go,
    Promise("readers have what Redis never reported", 4): _unreported,
    Promise("the streams of a revoked key have ended", 2): _revoked,
}


if __name__ == "__main__":
    sys.exit(main())
