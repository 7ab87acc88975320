"""Readers that are cut at any byte and come back as clients do, rightly and wrongly.

The text of an answer is known beforehand, so every frame is compared with it: it must start exactly
at its reader's position and contain exactly the text there.

The file is long because what a position means is a table of many cases for one held answer.
"""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import pytest

import scripted
from local.programs import Web, Worker
from scripted import done, finish, long, reasoning, say, script, tool_call, usage
from shared.sse import Decoder, Event
from tests.client import Client, Disconnected, Reading, StreamConnection, proof
from tests.rig import Rig, eventually
from tests.stories import Held, holding

ANSWERS, READERS, CYCLES = 20, 40, 1000

#: What a careless line splitter, UTF-16 counter or JSON writer would get wrong.
AWKWARD = [
    "\r", "\n", "\r\n", "\n\n", "\u2028", "\u2029", "\x85", "\x0b", "\ufeff", "\x1f", "\t", "\x7f",
    "\U0001f600", "\U0001f469\u200d\U0001f467", "\U0010ffff", "e\u0301", "你好", "שלום", "id: 7\n",
    "data: x\n\n", ":\n", '"', "\\", "</script>", "&amp;", " ",
]  # fmt: skip


def awkward(characters: int, dice: random.Random) -> str:
    """Text with awkward characters between the words."""
    words = scripted.generated(characters, dice.randrange(1000)).split()
    return "".join(word + dice.choice([" ", *AWKWARD]) for word in words)[:characters]


def composed(number: int, rate: float) -> str:
    """A question whose answer thinks, speaks and calls a tool, differently for every number."""
    dice = random.Random(number)
    manner: dict[str, Any] = {"chunk": (1, 11), "rate": rate}
    return script(
        reasoning(awkward(dice.randrange(150, 300), dice), **manner),
        say(
            awkward(dice.randrange(700, 1200), dice),
            split_pairs=number % 2 == 0,
            escaped=number % 3 == 0,
            **manner,
        ),
        tool_call("call-1", "look\u2028up", json.dumps({"for": awkward(60, dice)}), **manner),
        finish("tool_calls"),
        usage(),
        done(),
        tag=f"composed {number}",
    )


class Truth:
    """The whole text of an answer, and its parts, known beforehand."""

    def __init__(self, message_id: str, question: str) -> None:
        self.id = message_id
        parts = scripted.expected(question).parts
        self.body = "".join(text for _, text in parts)
        self.kinds = [kind for kind, _ in parts]
        self.ends = list(accumulate(len(text) for _, text in parts))

    def check(self, event: Event, stands: int) -> int:
        """Check a delta frame for a reader at a position; the reader's next position."""
        data = json.loads(event.data)
        end = stands + len(data["text"])
        part = next(number for number, at in enumerate(self.ends) if stands < at)
        assert event.event == "delta"
        assert (data["start"], event.id) == (stands, str(end))
        assert data["text"] == self.body[stands:end] != ""
        assert (data["part"], data["kind"]) == (part, self.kinds[part])
        assert end <= self.ends[part], "a frame spans two parts"
        return end


@dataclass
class Reader:
    """A reader of one answer, whose connections are cut again and again."""

    truth: Truth
    others: list["Reader"]
    urls: list[str]
    dice: random.Random
    text: str = ""
    ends: list[dict[str, Any]] = field(default_factory=list)
    #: connections that were cut before the end, and how each connection began
    cut: int = 0
    manners: list[str] = field(default_factory=list)

    def cycle(self) -> None:
        """Come back in some manner, read a random number of bytes, be cut."""
        manner, begin, connection = self._come_back()
        self.manners.append(manner)
        # As often after a few bytes as after a few thousand.
        self._read(begin, connection, cut_after=int(10 ** self.dice.uniform(0, 3.7)))

    def to_end(self) -> None:
        """Read on from where the reader stands, and be cut no more."""
        self._read(len(self.text), self._open(last_id=str(len(self.text))))

    def _read(self, begin: int, connection: StreamConnection, cut_after: int | None = None) -> None:
        stands = begin
        with connection:
            assert connection.status == 200
            try:
                for event in connection.events(cut_after=cut_after):
                    if event.event == "end":
                        assert event.id == "end"
                        assert stands >= len(self.truth.body), "an end before all text"
                        self.ends.append(json.loads(event.data))
                    else:
                        stands = self.truth.check(event, stands)
            except Disconnected:
                self.cut += 1
        if begin <= len(self.text) < stands:
            self.text = self.text[:begin] + self.truth.body[begin:stands]

    def _come_back(self) -> tuple[str, int, StreamConnection]:
        here = len(self.text)
        older = self.dice.randrange(here + 1)
        manners: dict[str, tuple[int, dict[str, Any]]] = {
            "header": (here, {"last_id": str(here)}),
            "after": (here, {"after": here}),
            "both": (here, {"last_id": str(here), "after": older}),
            "stale header": (older, {"last_id": str(older)}),
            "stale after": (older, {"after": older}),
            "garbage": (0, {"last_id": self.dice.choice(GARBAGE)}),
            "foreign": (foreign := self._foreign(), {"last_id": str(foreign)}),
        }
        manner = self.dice.choices(list(manners), [6, 6, 4, 3, 3, 1, 1])[0]
        begin, how = manners[manner]
        return manner, begin, self._open(**how)

    def _foreign(self) -> int:
        """Where a reader of another message stands."""
        return len(self.dice.choice(self.others).text)

    def _open(self, *, after: int | None = None, last_id: str | None = None) -> StreamConnection:
        url = self.dice.choice(self.urls)
        return StreamConnection(url, self.truth.id, after=after, last_id=last_id)


#: Last-Event-IDs that are no position.
GARBAGE = ["banana", "-5", "1e3", "12 34", "0x10", "٣", "3.5", "9" * 40, "null", "\xa0"]


@pytest.mark.failure(1)
def test_a_thousand_reconnects_lose_repeat_and_reorder_nothing(
    web: Web, other_web: Web, client: Client, worker: Worker
) -> None:
    questions = [composed(number, rate=110) for number in range(ANSWERS)]
    with ThreadPoolExecutor(ANSWERS) as pool:
        truths = list(map(Truth, pool.map(client.ask, questions), questions))
    readers: list[Reader] = []
    urls = [web.url, other_web.url]
    for number in range(READERS):
        readers.append(Reader(truths[number % ANSWERS], readers, urls, random.Random(number)))

    def live(reader: Reader) -> None:
        for _ in range(CYCLES // READERS):
            reader.cycle()
        reader.to_end()

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(live, readers))

    assert sum(reader.cut for reader in readers) > CYCLES / 2
    assert {len(reader.manners) for reader in readers} == {CYCLES // READERS}
    assert len({manner for reader in readers for manner in reader.manners}) == 7
    for reader in readers:
        body = reader.truth.body
        assert reader.text == body
        assert {(end["length"], end["sha256"]) for end in reader.ends} == {proof(body)}
        assert {end["status"] for end in reader.ends} == {"DONE"}
        message = client.message(reader.truth.id)
        assert (message["length"], message["sha256"]) == proof(body)
        assert [part["kind"] for part in message["parts"]] == reader.truth.kinds
        assert "".join(part["text"] for part in message["parts"]) == body


# --- one answer that waits in the middle ---------------------------------------------------------


#: How many characters of a held answer are published.
PUBLISHED = 300


@pytest.fixture
def held(rig: Rig, client: Client, worker: Worker) -> Iterator[Held]:
    """An answer that is held after PUBLISHED characters."""
    rest = (long(50, seed=1), finish(), done())
    with holding(rig, client, long(PUBLISHED), *rest) as held:
        yield held
    client.ended(held.id)


def _ended(client: Client, held: Held) -> None:
    held.go_on()
    assert client.ended(held.id)["status"] == "DONE"


def test_a_reader_that_has_the_end_gets_a_204(client: Client, held: Held) -> None:
    reading = client.read(held.id)
    held.go_on()
    reading.to_end()

    with reading.open() as connection:
        assert reading.last_id == "end"
        assert connection.status == 204
        assert list(connection.events()) == []


def test_a_reader_that_has_all_text_but_no_end_gets_the_end(client: Client, held: Held) -> None:
    _ended(client, held)
    reading = client.read(held.id)

    for after, last_id in ((len(held.text), None), (None, str(len(held.text)))):
        with reading.open(after=after, last_event_id=last_id) as connection:
            [event] = connection.events()
        assert (event.event, event.id) == ("end", "end")
        assert json.loads(event.data)["length"] == len(held.text)


@pytest.mark.parametrize("steps", [[finish(), done()], [done()]], ids=["a reason", "no more"])
def test_an_empty_answer_ends_as_provider_empty_for_every_reader(
    client: Client, worker: Worker, steps: list[Any]
) -> None:
    """For readers while it is written and later, from any position, and in every face."""
    reading = client.read(client.ask(script(*steps))).to_end()
    message = client.message(reading.message_id)

    assert (reading.text, reading.proven, message["text"]) == ("", True, "")
    assert message["error"]["code"] == "provider_empty"
    for face in ("stream", "stream?after=0", "stream?after=7", "blocks/stream"):
        stream = client.http.get(f"/api/messages/{reading.message_id}/{face}").content
        *before, end = Decoder().feed(stream)
        assert (end.event, json.loads(end.data)) == ("end", reading.end), face
        assert [event.event for event in before] in ([], ["blocks"])
    assert reading.end is not None
    assert reading.end["error"] == message["error"]
    with reading.open() as connection:
        assert connection.status == 204


def test_a_reader_at_the_last_position_of_an_open_answer_gets_the_end(
    client: Client, held: Held
) -> None:
    with client.read(held.id).open(last_event_id="350") as connection:
        held.go_on()
        assert [event.event for event in connection.events()] == ["end"]


def test_a_reader_beyond_the_body_waits_and_gets_only_the_end(client: Client, held: Held) -> None:
    with client.read(held.id).open(last_event_id="100000") as connection:
        held.go_on()
        [event] = connection.events()

    end = json.loads(event.data)
    assert (event.event, end["length"], end["sha256"]) == ("end", *proof(held.text))


def test_a_reader_ahead_of_the_body_gets_the_text_from_its_position(
    client: Client, held: Held
) -> None:
    with client.read(held.id).open(last_event_id="320") as connection:
        held.go_on()
        *deltas, end = [(event.event, json.loads(event.data)) for event in connection.events()]

    assert deltas[0][1]["start"] == 320
    assert "".join(data["text"] for _, data in deltas) == held.text[320:]
    assert end[0] == "end"


def test_the_id_end_in_an_open_answer_means_from_the_beginning(client: Client, held: Held) -> None:
    reading = client.read(held.id)

    with reading.open(last_event_id="end") as connection:
        events = connection.events()
        reading.take(next(events))
        assert held.text.startswith(reading.text)
        held.go_on()
        for event in events:
            reading.take(event)

    assert reading.text == held.text
    assert reading.proven


#: Values that are neither `end` nor a whole number.
GARBAGE = [
    "-1",
    "+1",
    "banana",
    "END",
    "1.5",
    "1e3",
    "1_0",
    "0x1",
    "endless",
    "-end",
    "5 5",
    "null",
]
#: Faces that have a position, and those of them that stream.
FACES = ("stream", "blocks/stream", "blocks")
STREAMS = FACES[:2]


@pytest.mark.parametrize("after", ["", " 1", " end", "٣", "²", *GARBAGE])
def test_an_invalid_after_is_a_422(client: Client, held: Held, after: str) -> None:
    for face in FACES:
        for method in ("GET", "HEAD"):
            path = f"/api/messages/{held.id}/{face}"
            answer = client.http.request(method, path, params={"after": after})
            assert answer.status_code == 422
            assert answer.headers["content-type"] == "application/problem+json"
            assert method == "HEAD" or answer.json()["code"] == "invalid_position"


def test_last_event_id_and_after_mean_the_same(client: Client, held: Held) -> None:
    """Of an open answer and of an ended one. A whole number is one however long it is."""
    whole = {"0": 0, "7": 7, "007": 7, "0" * 3000 + "7": 7, "300": 300, "350": 350}
    beyond = dict.fromkeys(["351", "9" * 15, "9" * 16, str(2**63), str(2**64), "9" * 3000], 350)
    values = {**whole, **beyond}
    manners = ("headers", "params")
    waiting: list[str] = []

    def read_to_end(value: str, manner: str) -> str:
        """The text that comes for it, up to the end."""
        asked: dict[str, Any] = {
            "headers": {"Last-Event-ID": value} if manner == "headers" else {},
            "params": {"after": value} if manner == "params" else {},
        }
        with client.http.stream("GET", f"/api/messages/{held.id}/stream", **asked) as response:
            assert response.status_code == 200
            waiting.append(value)
            *deltas, end = Decoder().feed(b"".join(response.iter_raw()))
        assert end.event == "end"
        return "".join(json.loads(delta.data)["text"] for delta in deltas)

    both = [(value, manner) for value in [*values, "end"] for manner in manners]
    with ThreadPoolExecutor(len(both)) as pool:
        reads = [pool.submit(read_to_end, *one) for one in both]
        eventually(lambda: len(waiting) == len(both))
        _ended(client, held)
        for (value, manner), read in zip(both, reads, strict=True):
            assert read.result() == held.text[values.get(value, 0) :], (value[:20], manner)

    # and: now that it has ended
    for value, position in values.items():
        for manner in manners:
            assert read_to_end(value, manner) == held.text[position:], (value[:20], manner)
    for method in ("GET", "HEAD"):
        for face in STREAMS:
            path = f"/api/messages/{held.id}/{face}"
            by_header = client.http.request(method, path, headers={"Last-Event-ID": "end"})
            by_query = client.http.request(method, path, params={"after": "end"})
            assert (by_header.status_code, by_query.status_code) == (204, 204)
    shown = client.http.get(f"/api/messages/{held.id}/blocks", params={"after": "end"}).json()
    assert (shown["blocks"], shown["next"]) == ([], None)


@pytest.mark.parametrize("value", GARBAGE)
def test_an_invalid_last_event_id_means_from_the_beginning(
    client: Client, held: Held, value: str
) -> None:
    with client.read(held.id).open(last_event_id=value) as connection:
        first = json.loads(next(connection.events()).data)
    assert first["start"] == 0


@pytest.mark.parametrize("message", ["00000000-0000-4000-8000-00000000dead", "banana"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_stream_of_an_unknown_message_is_a_404(
    client: Client, message: str, method: str
) -> None:
    for face in FACES:
        for headers in ({}, {"Last-Event-ID": "end"}, {"Last-Event-ID": "5"}):
            path = f"/api/messages/{message}/{face}"
            answer = client.http.request(method, path, headers=headers)
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
            assert method == "HEAD" or answer.json()["code"] == "not_found"


def test_readers_that_join_at_any_moment_on_another_master_read_the_same(
    client: Client, other_web: Web, worker: Worker
) -> None:
    question = composed(99, rate=400)
    truth = Truth(client.ask(question), question)
    first = client.read(truth.id)
    joined: list[Reading] = []

    with ThreadPoolExecutor(20) as pool, first.open() as connection:
        for event in connection.events():
            first.take(event)
            if len(first.text) > len(truth.body) * len(joined) / 20:
                joined.append(Reading(truth.id, [other_web.url]))
                pool.submit(joined[-1].to_end)

    assert len(joined) > 5
    for reading in [first, *joined]:
        assert reading.text == truth.body
        assert reading.proven
        assert reading.end == first.end


def test_a_reader_can_resume_from_every_position_in_every_process(
    other_web: Web, client: Client, held: Held
) -> None:
    for position in range(0, PUBLISHED, 7):
        reading = Reading(held.id, [client.url, other_web.url])
        reading.text = held.text[:position]
        with reading.open(after=position) as connection:
            reading.take(next(connection.events()))
        assert reading.text == held.text[:PUBLISHED]
