"""Foreign values in our Redis: each is a wake-up at most, for the message whose channel it is on.

They come from scripts, from workers of the next version, from accidents. None may cost the
connection on which hundreds of answers arrive.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from unittest.mock import Mock

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from local.programs import Web, Worker
from scripted import done, finish, hold, say, script, usage
from scripted.steps import Step
from shared.body import Body
from shared.bus.coding import decode
from shared.bus.keys import STOP_CHANNEL, message_channel, user_channel
from shared.bus.publishing import Publication, PublishResult
from shared.lifecycle import Status
from shared.settings import Settings
from shared.store import owning
from shared.store.ending import Ending
from shared.store.owning import Claim
from shared.store.tables import LOCAL_USER
from shared.sweep import Swept
from tests.client import Client, new_id
from tests.rig import Rig
from tests.shared.bus.test_coding import FOREIGN
from tests.store_fixtures import ME, Store, body_of, save_of
from tests.strategies import thorough
from web.following.message_topic import MessageTopic, read, snapshot
from web.page.dashboard import Dashboard

JUNK = [
    *(text.encode("utf-8", "surrogateescape") for text in FOREIGN.values()),
    b"\xff\xfe\x00",
    b'[[0,0,"text","\xc3",null]]',
    b"\x00" * 100,
    b"x" * 100_000,
]


# --- a connection that listens --------------------------------------------------------------------


def test_any_payload_leaves_the_subscription_working(tables: Store) -> None:
    tables.clear()
    raw: Any = redis.Redis.from_url(tables.redis_url)
    place, claim = uuid.uuid4(), uuid.uuid4()
    with closing(tables.livelog.subscription()) as subscription:
        subscription.subscribe(message_channel(place))
        assert subscription.listen(5) is not None

        @thorough(60)
        @given(st.binary(max_size=60))
        @example(b"\xff")
        @example(b"\r\n$5\r\n+OK\r\n")
        def survives(payload: bytes) -> None:
            raw.publish(message_channel(place), payload)
            item = Publication(place, claim, 1, body_of("still here").since(0), 0, force=True)
            tables.redis.delete(f"outlive:log:{place}:{claim}")
            assert tables.publish_all([item]) == [PublishResult.WRITTEN]

            foreign, ours = subscription.listen(5), subscription.listen(5)

            assert foreign is not None
            assert foreign.payload.encode("utf-8", "surrogateescape") == payload
            assert ours is not None
            decoded = decode(ours.payload)
            assert decoded is not None
            assert (decoded.claim, Body(decoded.deltas).text) == (claim, "still here")

        survives()
    raw.close()


def pubsub(server: Any) -> set[str]:
    """The connections that listen, by number: one that was given up has another one's."""
    return {one["id"] for one in server.client_list(_type="pubsub")}


@contextmanager
def no_connection_is_lost(rig: Rig) -> Iterator[Any]:
    """A connection to Redis; all that listen when a story begins still do at its end."""
    server: Any = redis.Redis.from_url(rig.redis.url)
    before = pubsub(server)
    assert before
    try:
        yield server
        assert pubsub(server) == before
    finally:
        server.close()


END: list[Step] = [finish(), usage(), done()]


@pytest.mark.failure(38)
def test_junk_on_a_message_channel_loses_no_text_and_cuts_no_reader(
    rig: Rig, client: Client, web: Web, worker: Worker
) -> None:
    names = [new_id(), new_id()]
    questions = [
        script(say("Begun"), *(step for turn in range(3) for step in turns(name, turn)), *END)
        for name in names
    ]
    hit, other = (client.ask(question) for question in questions)
    readings = [client.read(answer) for answer in (hit, other)]
    connections = [reading.open() for reading in readings]
    frames = [connection.events() for connection in connections]
    for reading, events in zip(readings, frames, strict=True):
        while reading.text != "Begun":
            reading.take(next(events))

    with no_connection_is_lost(rig) as server:
        for turn in range(3):
            for junk in JUNK[turn::3]:
                server.publish(f"outlive:live:{hit}", junk)
            for reading, events, name in reversed(list(zip(readings, frames, names, strict=True))):
                rig.scripted.release(f"{name} {turn}")
                while f"turn {turn}" not in reading.text:
                    reading.take(next(events))

    for reading, events in zip(readings, frames, strict=True):
        while reading.end is None:
            reading.take(next(events))
        assert reading.proven
        assert (reading.end["status"], reading.connections) == ("DONE", 1)
    for connection in connections:
        connection.socket.close()


def turns(name: str, turn: int) -> list[Step]:
    return [hold(f"{name} {turn}"), say(f", turn {turn}")]


def test_junk_on_the_stop_channel_loses_no_stop(rig: Rig, client: Client, worker: Worker) -> None:
    answer = client.ask(script(say("On and on"), hold(new_id())))
    client.shown(answer, 9)

    with no_connection_is_lost(rig) as server:
        for junk in (*JUNK, b"not an id", str(uuid.uuid4()).encode(), b'{"id": 1}'):
            server.publish(STOP_CHANNEL, junk)
        client.stop(answer)
        assert client.ended(answer)["status"] == "CANCELLED"


def test_junk_on_a_user_channel_loses_no_notice(rig: Rig, client: Client, web: Web) -> None:
    with client.http.stream("GET", "/api/notices") as stream, no_connection_is_lost(rig) as server:
        lines = stream.iter_lines()
        while not next(lines).startswith("event: state"):
            pass
        for junk in JUNK:
            server.publish(user_channel(LOCAL_USER), junk)
        conversation = client.conversation()
        while conversation not in next(lines):
            pass


# --- reports of web processes ---------------------------------------------------------------------

#: What may stand where a web process reports its readers.
REPORTS = {
    **{name: text.encode("utf-8", "surrogateescape") for name, text in FOREIGN.items()},
    "bytes": b"\xff\xfe",
    "no time": b'{"readers": [], "streams": 1, "notices": 0}',
    "a time that is text": b'{"at": "now", "readers": [], "streams": 1, "notices": 0}',
    "no time at all": b'{"at": NaN, "readers": [], "streams": 1, "notices": 0}',
    "an endless time": b'{"at": Infinity, "readers": [], "streams": 1, "notices": 0}',
    "true": b'{"at": true, "readers": [], "streams": 1, "notices": 0}',
}
WRONG: dict[str, list[Any]] = {
    "streams": [None, "1", [], {}, True, float("nan"), 10**400],
    "notices": [None, "1", [], {}, True],
    "readers": [None, 7, "abc", {"a": 1}, [7], [["a", 1, 2]], [[new_id(), 1]], [[1, 2, 3]]],
    "refused": [None, 7, "abc", [1], {"a": None}, {"a": "1"}, {"a": 10**400}],
    "more readers": [[[new_id(), "1", 2]], [[new_id(), 1, None]], [[new_id(), 1, 10**400]]],
}


def test_foreign_values_among_process_reports_are_skipped(store: Store) -> None:
    no_workers: Any = Mock(
        **{
            "open_ones.return_value": [],
            "count.return_value": 0,
            "by_share.return_value": Counter(),
        }
    )
    dashboard = Dashboard(
        Settings.model_construct(flower_url=None), store.db, store.livelog, no_workers, no_workers
    )
    good = {"at": time.time(), "readers": [(new_id(), 2, 5)], "streams": 2, "notices": 3}
    good["refused"] = {"of_the_next_version": 4}
    raw: Any = redis.Redis.from_url(store.redis_url)
    for name, value in REPORTS.items():
        raw.hset("outlive:web", name, value)
    raw.hset("outlive:web", b"\xff name", b"{}")
    for field, values in WRONG.items():
        for number, value in enumerate(values):
            raw.hset("outlive:web", f"{field} {number}", json.dumps({**good, field[-7:]: value}))
    raw.hset("outlive:web", "host:1", json.dumps({**good, "more": "of the next version"}))

    for _ in range(2):
        dashboard._sample()
        shown = dashboard.state()

    assert (shown["streams"], shown["notices"]) == (2, 3)
    assert shown["refused"]["of_the_next_version"] == 4
    assert [(one["readers"], one["lag"]) for one in shown["readers"]] == [(2, 5)]
    json.dumps(shown, allow_nan=False)
    raw.close()


def test_dashboard_answers_whatever_the_reports_hold(rig: Rig, client: Client, web: Web) -> None:
    server: Any = redis.Redis.from_url(rig.redis.url)
    try:
        for value in REPORTS.values():
            server.delete("outlive:web")
            server.hset("outlive:web", "host:1", value)
            assert client.http.get("/api/live").status_code == 200
        server.set("outlive:web", "no hash")
        assert client.http.get("/api/live").status_code == 200
    finally:
        server.delete("outlive:web")
        server.close()


# --- the live log ---------------------------------------------------------------------------------

#: Foreign entries: id and fields.
ENTRIES = {
    "another field": ("1-4", {"note": "hello"}),
    "another field of a later id": ("7-0", {"note": "hello"}),
    "the time as id": ("*", {"note": "hello"}),
    "deltas with the time as id": ("*", {"d": '[[0,0,"text","X",null]]'}),
    "deltas without a claim": ("1-9999", {"d": '[[0,0,"text","XXXXXXXXXX",null]]'}),
    "deltas of another claim": (
        "1-9999",
        {"d": f'[[0,0,"{uuid.uuid4().hex}","",null],[0,0,"text","XXXXXXXXXX",null]]'},
    ),
    "no deltas": ("1-9999", {"d": "no JSON"}),
    "bytes": ("1-9999", {b"d": b"\xff\xfe"}),
    "a field of bytes": ("1-9999", {b"\xff": b"\xff"}),
    "open, late": ("9-0", {"open": "1"}),
}


@pytest.fixture(params=[*ENTRIES, "no stream"])
def spoilt(store: Store, request: pytest.FixtureRequest) -> Claim:
    """A claim that has published "Some" and saved "So", and something foreign on top of its log."""
    claim = store.streaming()
    store.save(claim, body_of("So"))
    assert store.publish(claim, body_of("Some")) == PublishResult.WRITTEN
    raw: Any = redis.Redis.from_url(store.redis_url)
    log = f"outlive:log:{claim.id}:{claim.token}"
    if request.param == "no stream":
        raw.set(log, b"\xff")
    else:
        place, fields = ENTRIES[request.param]
        raw.xadd(log, fields, id="1-5" if place == "1-4" else place)
    raw.close()
    return claim


def test_owner_of_a_spoilt_log_begins_it_anew(store: Store, spoilt: Claim) -> None:
    body = body_of("Some more of it.")

    assert store.publish(spoilt, body, 4) == PublishResult.MISSING
    forced = Publication(spoilt.id, spoilt.token, 1, body.since(2), 0, force=True)
    assert store.publish_all([forced]) == [PublishResult.WRITTEN]
    body.write("text", " And more.")
    assert store.publish(spoilt, body, 16) == PublishResult.WRITTEN

    row = store.row(spoilt.id)
    assert snapshot(store.db, store.livelog, spoilt.id, row.user_id).body.text == body.text


def test_spoilt_log_is_fenced_and_text_of_the_claim_salvaged(store: Store, spoilt: Claim) -> None:
    kept = store.redis.type(f"outlive:log:{spoilt.id}:{spoilt.token}") == "stream"
    store.make_overdue(spoilt.id, "lease_until")

    assert store.sweep().run() == Swept(ended=1)

    row = store.row(spoilt.id)
    assert (row.status, row.error_code) == ("ERROR", "worker_lost")
    assert row.length == len("Some" if kept else "So")
    for force in (False, True):
        late = Publication(spoilt.id, spoilt.token, 1, body_of("Some X").since(4), 0, force)
        assert store.publish_all([late]) == [PublishResult.FENCED]


def test_spoilt_log_costs_readers_no_text(store: Store, spoilt: Claim) -> None:
    user = store.row(spoilt.id).user_id
    other = store.streaming(user)
    store.publish(other, body_of("Untouched"))
    ones = [MessageTopic(spoilt.id, user), MessageTopic(other.id, user)]

    assert set(read(store.db, store.livelog, ones)) == set(ones)

    assert ones[0].body.text in {"So", "Some"}
    assert ones[1].body.text == "Untouched"
    assert owning.finish(
        store.db, ME, save_of(spoilt, body_of("Some more."), 2), Ending(Status.DONE, "stop")
    )
    assert read(store.db, store.livelog, ones[:1]) == {ones[0]: True}
    assert ones[0].body.text == "Some more."


def test_foreign_log_does_not_prove_that_nothing_was_published(
    store: Store,
) -> None:
    claim = store.streaming()
    store.redis.xadd(f"outlive:log:{claim.id}:{claim.token}", {"note": "x"}, id="1-1")
    store.make_overdue(claim.id, "lease_until")

    assert store.sweep().run() == Swept(ended=1)


def test_worker_goes_on_with_a_foreign_entry_in_its_log(
    rig: Rig, client: Client, worker: Worker
) -> None:
    name = new_id()
    question = script(say("Before"), *turns(name, 0), *turns(name, 1), *END)
    answer = client.ask(question)
    client.shown(answer, 6)
    reading = client.read(answer)
    [row] = rig.rows("SELECT claim FROM messages WHERE id = :id", id=answer)
    with closing(redis.Redis.from_url(rig.redis.url)) as server:
        for turn in range(2):
            server.xadd(f"outlive:log:{answer}:{row.claim}", {"note": "hello"})
            rig.scripted.release(f"{name} {turn}")
            with reading.open() as connection:
                for event in connection.events():
                    reading.take(event)
                    if f"turn {turn}" in reading.text:
                        break

    assert reading.to_end().proven
    assert reading.end is not None
    assert (reading.end["status"], reading.text) == ("DONE", "Before, turn 0, turn 1")
