"""Streams that end before their answers do: by a limit, crash, deploy or a client that leaves.

The file is long because all of these share the same few helpers."""

import json
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import text

import scripted
from local.processes import children
from local.programs import Web, Worker
from scripted import done, finish, long, script, usage
from shared.sse import Decoder
from tests.client import Client, Disconnected, Reading, StreamConnection
from tests.end_to_end.conftest import Fragile
from tests.rig import Rig, eventually, killing
from tests.stories import Held, Stopwatch, holding
from tests.tcp_proxy import TcpProxy, switch_off

#: Milliseconds after which a reader that a draining process sends away comes back: least and most.
GOODBYE = (200, 1500)
#: Seconds for which a body without readers is kept.
LINGER = 5.0


def _is_exact(reading: Reading, question: str) -> bool:
    return (
        reading.text == scripted.expected(question).text
        and reading.proven
        and reading.end is not None
        and reading.end["status"] == "DONE"
    )


def _log(rig: Rig) -> str:
    return (rig.home / "log" / "web.log").read_text(errors="replace")


@contextmanager
def _held(rig: Rig, client: Client) -> Iterator[Held]:
    """An answer that is held after its first 100 characters."""
    rest = (long(100, seed=1), finish(), usage(), done())
    with holding(rig, client, long(100), *rest) as held:
        yield held
    client.ended(held.id)


@pytest.fixture
def held(rig: Rig, client: Client, worker: Worker) -> Iterator[Held]:
    """See `_held`."""
    with _held(rig, client) as held:
        yield held


# --- time ----------------------------------------------------------------------------------------


def test_streams_limited_to_one_second_carry_an_answer_of_ten(rig: Rig, worker: Worker) -> None:
    web = rig.web(OUTLIVE_STREAM_MAX_SECONDS="1")
    question = script(long(1000, rate=100), finish(), usage(), done())
    with killing(web), Client(web.url) as client:
        reading = client.read(client.ask(question))
        longest = 0.0
        while reading.end is None:
            begun = time.monotonic()
            with reading.open() as connection:
                for event in connection.events():  # ends in order, never by a cut
                    reading.take(event)
                assert connection.decoder.retry is not None
                if reading.end is None:
                    assert connection.decoder.retry <= 250  # come back at once
            longest = max(longest, time.monotonic() - begun)

    assert _is_exact(reading, question)
    assert reading.connections >= 9
    assert longest < 3


def test_a_silent_stream_carries_comments_that_end_no_event(rig: Rig, held: Held) -> None:
    web = rig.web(OUTLIVE_SSE_HEARTBEAT_SECONDS="0.3")
    with killing(web), Reading(held.id, [web.url]).open(after=100) as connection:
        begun, received = time.monotonic(), b""
        for data in connection.body():
            received += data
            if received.count(b":") == 5:
                break
        seconds = time.monotonic() - begun
        held.go_on()
        first, *_, last = connection.events()

    assert re.fullmatch(rb"retry: \d+\n(:\n){4}", received)
    assert seconds > 4 * 0.3 - 0.1
    assert (first.event, json.loads(first.data)["start"]) == ("delta", 100)
    assert last.event == "end"


# --- crash ---------------------------------------------------------------------------------------


@pytest.mark.failure(1)
def test_readers_of_a_killed_web_master_lose_nothing(rig: Rig, web: Web, worker: Worker) -> None:
    victim = rig.web()
    questions = [script(long(500, rate=150, seed=n), finish(), done()) for n in range(10)]
    with killing(victim), Client(web.url) as client, ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(client.ask, questions))
        readings = [Reading(answer, [web.url]) for answer in answers]

        def read(reading: Reading) -> Reading:
            try:
                with reading.open(url=victim.url) as connection:
                    for event in connection.events():
                        reading.take(event)
            except (Disconnected, OSError):
                assert reading.end is None
                return reading.to_end()
            raise AssertionError("was never cut")

        read_to_end = [pool.submit(read, reading) for reading in readings]
        eventually(lambda: all(len(reading.text) > 50 for reading in readings))
        victim.kill()

        for future, question in zip(read_to_end, questions, strict=True):
            assert _is_exact(future.result(), question)
    assert all(reading.connections > 1 for reading in readings)


@pytest.mark.failure(1)
def test_readers_of_a_killed_web_process_lose_nothing(rig: Rig, worker: Worker) -> None:
    """Only the process is killed: the master starts another one at the same address."""
    web = rig.web(WEB_CONCURRENCY="1")
    question = script(long(500, rate=150), finish(), done())
    with killing(web), Client(web.url) as client, ThreadPoolExecutor(1) as pool:
        reading = client.read(client.ask(question))
        read = pool.submit(reading.to_end)
        eventually(lambda: len(reading.text) > 50)
        [process] = children(web.pid)
        os.kill(process, signal.SIGKILL)
        assert _is_exact(read.result(), question)
    assert reading.connections > 1


# --- deploy --------------------------------------------------------------------------------------


@pytest.mark.failure(2)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_draining_web_process_sends_its_readers_to_another(
    rig: Rig, web: Web, worker: Worker, sent: signal.Signals
) -> None:
    draining = rig.web()
    log_before = len(_log(rig))
    old = _living(draining)
    # After a TERM another master serves. After a HUP it is the same one's new processes, which
    # gunicorn starts only then. They take seconds, and no client is refused meanwhile.
    next_url = web.url if sent == signal.SIGTERM else draining.url
    with killing(draining), Client(web.url) as client, _held(rig, client) as held:

        def read(reading: Reading) -> int:
            """Read as a browser does; the longest `retry:` that it got, in ms."""
            longest = 0
            while reading.end is None:
                with reading.open(url=next_url if longest else draining.url) as connection:
                    for event in connection.events():  # a proper end, not a cut
                        reading.take(event)
                if reading.end is None:
                    assert connection.decoder.retry is not None
                    longest = max(longest, connection.decoder.retry)
                    time.sleep(connection.decoder.retry / 1000)  # as EventSource does
            return longest

        readings = [Reading(held.id, []) for _ in range(20)]
        with ThreadPoolExecutor(20) as pool:
            reads = [pool.submit(read, reading) for reading in readings]
            eventually(lambda: all(len(reading.text) == 100 for reading in readings))
            begun = time.monotonic()
            draining.signal(sent)
            eventually(lambda: not old & _living(draining))
            assert time.monotonic() - begun < 8  # gunicorn would cut what is left then
            eventually(lambda: all(reading.connections >= 2 for reading in readings))
            held.go_on()
            assert max(future.result() for future in reads) <= GOODBYE[1]

    assert all(_is_exact(reading, held.question) for reading in readings)
    log = _log(rig)[log_before:]
    assert "Traceback" not in log
    assert "TIMEOUT" not in log


def _living(web: Web) -> set[int]:
    return set(children(web.pid)) if web.alive() else set()


# --- clients that go -----------------------------------------------------------------------------


NOTHING = {"outlive_readers": 0.0, "outlive_hub_bodies": 0.0}


def _gauges(client: Client) -> dict[str, float]:
    lines = client.http.get("/metrics").text.splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    found = {name: float(value) for name, value in pairs if name.startswith("outlive_")}
    return {name: found[name] for name in NOTHING}


def _reset(connection: StreamConnection) -> None:
    """Go as a machine does that lost its network and found it again."""
    linger = struct.pack("ii", 1, 0)
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


@pytest.mark.failure(28)
def test_a_client_that_disconnects_is_logged_once_and_its_memory_freed(
    rig: Rig, held: Held
) -> None:
    web = rig.web(OUTLIVE_SSE_HEARTBEAT_SECONDS="0.2")
    log_before = len(_log(rig))
    with killing(web), Client(web.url) as client:
        eventually(lambda: _gauges(client) == NOTHING)  # of earlier tests, killed ones too
        connections = [client.read(held.id).open(after=place) for place in range(10)]
        for connection in connections:
            next(connection.events())
        eventually(lambda: _gauges(client)["outlive_readers"] == 10)
        assert 1 <= _gauges(client)["outlive_hub_bodies"] <= 2  # one a process

        for number, connection in enumerate(connections):
            if number % 2:
                _reset(connection)
            connection.socket.close()

        eventually(lambda: _gauges(client)["outlive_readers"] == 0, 5)
        eventually(lambda: _gauges(client) == NOTHING, LINGER + 5)
        web.stop()

    log = _log(rig)[log_before:]
    lines = [line for line in log.splitlines() if held.id in line]
    assert len(lines) == 10, lines
    assert all(f'"GET /api/messages/{held.id}/stream" 200' in line for line in lines)
    assert "Traceback" not in log
    assert "rror" not in log.replace("gunicorn.error", "")  # the name of its log


@pytest.mark.failure(28)
def test_a_client_whose_machine_is_off_is_disconnected(rig: Rig, held: Held) -> None:
    """It says no goodbye, and nothing that is sent to it is acknowledged any more."""
    heartbeat = 2.0
    web = rig.web(OUTLIVE_SSE_HEARTBEAT_SECONDS=str(heartbeat))
    with killing(web), Client(web.url) as client, ExitStack() as stack:
        eventually(lambda: _gauges(client) == NOTHING)
        readings = [client.read(held.id) for _ in range(4)]
        connections = [stack.enter_context(reading.open()) for reading in readings]
        for reading, connection in zip(readings, connections, strict=True):
            reading.take(next(connection.events()))
        eventually(lambda: _gauges(client)["outlive_readers"] == 4)

        # when
        for connection in connections[:3]:
            switch_off(connection.socket)

        # then: they are disconnected and their memory is freed; the silent reader is not
        eventually(lambda: _gauges(client)["outlive_readers"] == 1)
        held.go_on()
        for event in connections[3].events():
            readings[3].take(event)
        assert readings[3].connections == 1
        eventually(lambda: _gauges(client) == NOTHING, LINGER + 5)
        assert all(_is_exact(reading.to_end(), held.question) for reading in readings)


@pytest.mark.failure(28)
def test_a_reader_that_takes_nothing_is_disconnected_and_resumes_exactly(
    rig: Rig, client: Client, worker: Worker
) -> None:
    question = script(long(3_900_000, chunk=40_000), finish(), usage(), done())
    answer = client.ask(question)
    client.ended(answer)
    web = rig.web(OUTLIVE_SSE_HEARTBEAT_SECONDS="0.3")
    with killing(web):
        reading = Reading(answer, [web.url])
        with reading.open() as connection:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
            # when: it reads nothing until the line about its request says that it was cut
            eventually(lambda: f"{answer}/stream" in _log(rig))
            with pytest.raises((Disconnected, OSError)):
                _read_all(reading, connection)
        assert reading.end is None

        # then
        with reading.open() as connection:
            _read_all(reading, connection)
    assert _is_exact(reading, question)
    assert reading.connections == 2


def test_clients_that_leave_before_the_first_byte_leave_nothing_open(rig: Rig, held: Held) -> None:
    web = rig.web(OUTLIVE_SSE_HEARTBEAT_SECONDS="0.2")
    log_before = len(_log(rig))
    request = f"GET /api/messages/{held.id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    where = ("127.0.0.1", int(web.url.rpartition(":")[2]))
    with killing(web), Client(web.url) as client:
        for size in (1, 20, len(request) - 1, len(request)):
            with socket.create_connection(where) as peer:
                peer.sendall(request[:size])
        for _ in range(3):
            client.http.head(f"/api/messages/{held.id}/stream")

        eventually(lambda: _gauges(client) == NOTHING, LINGER + 5)
        web.stop()
    assert "Traceback" not in _log(rig)[log_before:]


@pytest.mark.failure(28)
def test_readers_that_stop_reading_delay_no_other_reader(
    rig: Rig, client: Client, web: Web, worker: Worker
) -> None:
    """Far more text than the kernel keeps for them, so the writes to them are stuck."""
    question = script(long(3_900_000, chunk=40_000), finish(), usage(), done())
    answer = client.ask(question)
    lazy = [client.read(answer).open() for _ in range(5)]
    for connection in lazy:  # or the kernel would take several megabytes for them
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)

    begun = time.monotonic()
    reading = client.read(answer)
    with reading.open() as connection:
        _read_all(reading, connection)
    seconds = time.monotonic() - begun

    assert _is_exact(reading, question)
    assert seconds < 20
    eventually(lambda: _log(rig).count(f"{answer}/stream") == 1)  # the others' go on
    for connection in lazy:  # and when they read again, they have everything
        late = client.read(answer)
        with connection:
            _read_all(late, connection)
        assert _is_exact(late, question)


def _read_all(reading: Reading, connection: StreamConnection) -> None:
    connection.decoder = Decoder(limit=1 << 26)  # a late reader gets it in one frame
    for event in connection.events():
        reading.take(event)


# --- all readers at once -------------------------------------------------------------------------

STORM = 300


@pytest.mark.failure(29)
def test_readers_that_all_return_at_once_are_served_from_memory(rig: Rig, held: Held) -> None:
    """They stand where they stood, and cost neither Postgres nor Redis anything."""
    with TcpProxy(rig.postgres.url) as sql, TcpProxy(rig.redis.url) as redis, ExitStack() as stack:
        web = rig.web(DATABASE_URL=sql.url, REDIS_URL=redis.url, WEB_CONCURRENCY="1")
        stack.enter_context(killing(web))
        pool = stack.enter_context(ThreadPoolExecutor(STORM))
        readings = [Reading(held.id, [web.url]) for _ in range(STORM)]

        def come(number: int) -> StreamConnection:
            """Be there, and see what there is."""
            connection = readings[number].open()
            if readings[number].text == "":
                readings[number].take(next(connection.events()))
            return connection

        def goodbye(connection: StreamConnection, reading: Reading) -> int:
            """Read until one is sent away; when one may come back."""
            for event in connection.events():
                reading.take(event)
            assert connection.decoder.retry is not None
            return connection.decoder.retry

        first = [come(0)]
        for _ in range(2):
            # when: the network breaks and all of them come (back) at once
            sent, watch = sql.sent + redis.sent, Stopwatch()
            connections = [*first, *pool.map(come, range(len(first), STORM))]
            # then: there is only the poll for a silent message once in three seconds
            assert sql.sent + redis.sent - sent < STORM / 10 + 5 * watch.seconds
            first = []
            for connection in connections:
                connection.socket.close()

        # and: each of them is given another `retry:`
        connections = list(pool.map(come, range(STORM)))
        cuts = list(pool.map(_retry, connections))
        reads = [pool.submit(goodbye, *pair) for pair in zip(connections, readings, strict=True)]
        web.signal(signal.SIGTERM)
        goodbyes = [read.result() for read in reads]
        for connection in connections:
            connection.socket.close()
        for retries, (least, most) in ((cuts, (1000, 5000)), (goodbyes, GOODBYE)):
            assert all(least <= retry <= most for retry in retries)
            assert len(set(retries)) > STORM / 4
            assert max(retries) - min(retries) > (most - least) * 0.8
        assert {reading.text for reading in readings} == {held.text[:100]}


def _retry(connection: StreamConnection) -> int:
    """The `retry:` that a response begins with, in ms: when to come back if it is cut."""
    while connection.decoder.retry is None:
        list(connection.decoder.feed(next(connection.body())))
    return connection.decoder.retry


def test_a_reader_in_the_process_that_took_its_question_waits_for_no_read(
    rig: Rig, worker: Worker
) -> None:
    """The process that took the question knows that there is nothing to be read yet."""
    web = rig.web(WEB_CONCURRENCY="1")
    question = script(long(500, rate=200), finish(), usage(), done())
    with killing(web), Client(web.url) as client:
        client.read(client.ask(script(long(10), done()))).to_end()  # by now it listens to Redis
        with rig.db.transaction() as held_up:
            held_up.execute(text("LOCK TABLE pieces"))  # a read of an answer would wait for this
            reading = client.read(client.ask(question))
            with reading.open() as connection:
                for event in connection.events():
                    reading.take(event)
                    if len(reading.text) > 100:
                        break
            assert len(reading.text) > 100
        assert _is_exact(reading.to_end(), question)


# --- Postgres ------------------------------------------------------------------------------------


@pytest.mark.failure(13)
def test_without_postgres_a_new_stream_is_only_a_retry(fragile: Fragile) -> None:
    rig, client = fragile.rig, fragile.client
    with _held(rig, client) as held:
        question = script(long(1500, rate=100), finish(), done())
        reading = client.read(client.ask(question))
        with ThreadPoolExecutor(1) as pool:
            read = pool.submit(reading.to_end, 60)
            eventually(lambda: len(reading.text) > 20)
            # Only this one is in memory: for the other question a reader had been expected.
            eventually(lambda: _gauges(client)["outlive_hub_bodies"] == 1, LINGER + 5)
            rig.postgres.stop()

            for headers in ({}, {"Last-Event-ID": "50"}, {"Last-Event-ID": "end"}):
                begun = time.monotonic()
                answer = client.http.get(f"/api/messages/{held.id}/stream", headers=headers)
                assert answer.status_code == 200
                assert answer.headers["content-type"].startswith("text/event-stream")
                assert re.fullmatch(r"retry: \d+\n", answer.text)
                assert time.monotonic() - begun < 8
            for path in (f"/api/messages/{held.id}", "/api/conversations", "/readyz"):
                answer = client.http.get(path)
                assert answer.status_code == 503
                assert "Traceback" not in answer.text
            assert client.http.get("/healthz").status_code == 200
            assert client.http.get("/metrics").status_code == 200
            seen = len(reading.text)
            eventually(lambda: len(reading.text) > seen)  # open streams go on

            rig.postgres.start().wait()
            assert read.result().text == scripted.expected(question).text
        assert reading.proven
        held.go_on()
        assert _is_exact(client.read(held.id).to_end(60), held.question)


@pytest.mark.failure(13)
def test_streams_survive_a_crash_of_postgres(fragile: Fragile) -> None:
    rig, client = fragile.rig, fragile.client
    questions = [script(long(500, rate=120, seed=n), finish(), done()) for n in range(10)]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(client.ask, questions))
        reads = [pool.submit(client.read(answer).to_end, 60) for answer in answers]
        for answer in answers:
            client.shown(answer, 100)

        rig.postgres.kill()
        rig.postgres.start().wait()

        for question, future in zip(questions, reads, strict=True):
            assert _is_exact(future.result(), question)
