"""Durable streams: the three ways to read, on the real processes and on bodies that grow."""

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.programs import Web, Worker
from scripted import cut, done, finish, long, reasoning, say, script, tool_call
from shared import sse
from shared.body import Body
from shared.numbering import NOTHING
from tests.client import Client, new_id
from tests.rig import PATIENCE, Rig
from tests.stories import holding
from tests.strategies import Written, bodies, grow, writings
from tests.web.dialects.test_ui_chunks import message_of, put_together
from web.dialects.durable_content import CHUNKS, TEXT, Content
from web.dialects.ui_chunks import Chunk
from web.faces.durable_streams import DIGITS, StreamFace, as_event, encode_offset
from web.following.face import Then
from web.following.message_topic import MessageTopic

CONTENTS = (CHUNKS, TEXT)


# --- pure -----------------------------------------------------------------------------------------


def items_of(content: Content, frames: bytes) -> tuple[list[str], list[dict[str, Any]]]:
    """Data and control events, which alternate, as the npm client reads them."""
    data: list[str] = []
    controls: list[dict[str, Any]] = []
    unpaired = False
    for event in sse.Decoder().feed(frames):
        if event.event == "data":
            assert not unpaired
            unpaired = True
            if content is TEXT:
                data.append(event.data)
            else:
                data += [json.dumps(one) for one in json.loads(event.data)]
        else:
            controls.append(json.loads(event.data))
            assert not (unpaired and "streamClosed" in controls[-1])  # see the face: "Pieces"
            unpaired = False
    assert not unpaired
    return data, controls


def write(face: StreamFace, topic: MessageTopic, place: Any) -> tuple[bytes, Any, Then]:
    frames, then = b"", Then.MORE
    while then is Then.MORE:
        more, place, then = face.write(topic, place)
        frames += more
    return frames, place, then


@given(writings, st.lists(st.integers(0, 12), max_size=4))
def test_chunks_are_read_as_events_while_the_body_grows(
    calls: list[Written], pauses: list[int]
) -> None:
    face, grown = StreamFace(CHUNKS, 7), Body()
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    frames, place, then = write(face, topic, (NOTHING, False))
    for number, call in enumerate(calls):
        grow(grown, call)
        if number in pauses:
            for delta in grown.since(topic.body.length):
                topic.body.append(delta)
            more, place, then = write(face, topic, place)
            frames += more
    assert then is Then.WAIT
    message = message_of(grown)
    topic.finish(message)
    more, place, then = write(face, topic, place)
    frames += more

    data, controls = items_of(CHUNKS, frames)

    assert then is Then.ENDED
    message = message_of(grown, id=topic.id)
    reader = put_together(message, [Chunk(0, one) for one in data])
    assert [part["text"] for part in reader.parts] == [part.text for part in grown.parts]
    offsets = [control["streamNextOffset"] for control in controls]
    assert offsets[:-2] == sorted(set(offsets[:-2]))
    assert offsets[-3:] == sorted(offsets[-3:])
    assert controls[-1]["streamClosed"] is controls[-1]["upToDate"] is True
    assert all(one["streamCursor"] == "7" for one in controls[:-1])


@given(bodies)
def test_every_offset_is_gone_on_from(body: Body) -> None:
    message = message_of(body)
    for content in CONTENTS:
        topic = MessageTopic(message.id, message.user_id)
        topic.finish(message)
        whole = content.read(topic, content.start, 1 << 20)
        place, items = content.start, list[str]()
        while True:
            found = content.read(topic, place, 1)
            items += found.items
            assert found.offset > place or found.all
            place = found.offset
            if found.all:
                break

        assert items == whole.items
        assert place == whole.offset == content.tail(topic)
        assert encode_offset(place) > encode_offset(max(content.start, 0)) or not body.length
    assert "".join(whole.items) == body.text


@given(st.text("a \n\r:\u2028", max_size=8))
def test_text_as_an_event_is_as_it_was_but_for_its_line_ends(text: str) -> None:
    [event] = sse.Decoder().feed(as_event("data", text))

    assert event.data == text.replace("\r\n", "\n").replace("\r", "\n")


# --- on the real processes ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def http(web: Web) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=web.url, timeout=PATIENCE, verify=False) as http:
        yield http


def ended(client: Client, *steps: Any) -> str:
    """An answer that has ended."""
    message = client.ask(script(*steps, tag=new_id()))
    client.ended(message)
    return message


def types(chunks: list[dict[str, Any]]) -> list[str]:
    return [chunk["type"] for chunk in chunks]


def test_what_has_ended_is_read_at_once(
    http: httpx2.Client, client: Client, worker: Worker
) -> None:
    message = ended(
        client,
        reasoning("Hm. "),
        say("Hello 😀"),
        tool_call("call_a", "look", '{"a": 1}'),
        finish("tool_calls"),
        done(),
    )

    answer = http.get(f"/streams/{message}")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Stream-Up-To-Date"] == answer.headers["Stream-Closed"] == "true"
    assert len(answer.headers["Stream-Next-Offset"]) == DIGITS
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    chunks = answer.json()
    assert chunks[0] == {"type": "start", "messageId": message}
    assert types(chunks) == [
        "start", "start-step",
        "reasoning-start", "reasoning-delta", "reasoning-end",
        "text-start", "text-delta", "text-end",
        "tool-input-start", "tool-input-delta", "tool-input-available",
        "finish-step", "finish",
    ]  # fmt: skip
    assert chunks[10]["input"] == {"a": 1}
    assert chunks[-1]["finishReason"] == "tool-calls"

    text = http.get(f"/streams/{message}/text")

    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert text.text == "Hello 😀"
    assert text.headers["Stream-Closed"] == "true"


def test_a_read_goes_on_after_every_offset(
    http: httpx2.Client, client: Client, worker: Worker
) -> None:
    message = ended(client, reasoning("Hm."), say("Hello"), finish(), done())
    whole = http.get(f"/streams/{message}").json()
    last = int(http.get(f"/streams/{message}").headers["Stream-Next-Offset"])

    texts = set()
    for number in range(last + 1):
        answer = http.get(f"/streams/{message}?offset={encode_offset(number)}")
        rest = answer.json()
        texts.add("".join(chunk.get("delta", "") for chunk in rest))
        named = [chunk for chunk in rest if not chunk["type"].endswith("-delta")]
        assert (
            named == [one for one in whole if not one["type"].endswith("-delta")][-len(named) :]
            or not named
        )
        assert int(answer.headers["Stream-Next-Offset"]) == last
        assert answer.headers["Stream-Closed"] == "true"

    assert texts == {"Hm.Hello"[place:] for place in range(9)}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("?offset=-1", 200),
        ("?offset=now", 200),
        ("?offset=0,1", 400),
        ("?offset=0 1", 400),
        ("?offset=", 400),
        ("?offset=%D9%A1", 400),
        ("?offset=-2", 400),
        ("?offset=" + "9" * (DIGITS + 1), 400),
        ("?offset=-1&live=often", 400),
        ("?live=sse", 400),
        ("?live=long-poll", 400),
        ("?offset=-1&another=parameter", 200),
    ],
)
@pytest.mark.parametrize("path", ["", "/text"])
def test_offsets_and_ways_to_read_are_checked(
    http: httpx2.Client, client: Client, worker: Worker, query: str, status: int, path: str
) -> None:
    message = ended(client, say("Hello"), finish(), done())

    answer = http.get(f"/streams/{message}{path}{query}")

    assert answer.status_code == status, answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if status == 400:
        assert answer.json()["code"] == "invalid_offset"


def test_now_is_the_end_without_what_was_before(
    rig: Rig, http: httpx2.Client, client: Client, worker: Worker
) -> None:
    with holding(rig, client, say("Begun, "), say("ended."), finish(), done()) as held:
        for path, empty in (("", b"[]"), ("/text", b"")):
            answer = http.get(f"/streams/{held.id}{path}?offset=now")

            assert answer.content == empty
            assert answer.headers["Stream-Up-To-Date"] == "true"
            assert "Stream-Closed" not in answer.headers
            read = http.get(f"/streams/{held.id}{path}")
            assert answer.headers["Stream-Next-Offset"] == read.headers["Stream-Next-Offset"]
        held.go_on()
        client.ended(held.id)
        offset = answer.headers["Stream-Next-Offset"]
        assert http.get(f"/streams/{held.id}/text?offset={offset}").text == "ended."


def test_head_says_where_the_end_is(http: httpx2.Client, client: Client, worker: Worker) -> None:
    message = ended(client, say("Hello"), finish(), done())

    for path in ("", "/text"):
        head, read = http.head(f"/streams/{message}{path}"), http.get(f"/streams/{message}{path}")

        assert (head.status_code, head.content) == (200, b"")
        for name in ("Stream-Next-Offset", "Stream-Closed", "Content-Type", "Cache-Control"):
            assert head.headers[name] == read.headers[name]


def test_the_etag_saves_a_transfer_and_changes_when_the_stream_is_closed(
    rig: Rig, http: httpx2.Client, client: Client, worker: Worker
) -> None:
    with holding(rig, client, say("Begun."), finish(), done()) as held:
        path = f"/streams/{held.id}/text"
        tag = http.get(path).headers["ETag"]
        same = http.get(path, headers={"If-None-Match": tag})
        assert (same.status_code, same.content) == (304, b"")
        assert http.get(path, headers={"If-None-Match": '"another"'}).status_code == 200
        held.go_on()
        client.ended(held.id)

    closed = http.get(path, headers={"If-None-Match": tag})

    assert (closed.status_code, closed.text) == (200, "Begun.")
    assert closed.headers["ETag"] != tag


def test_a_long_poll_waits_for_what_comes_next(
    rig: Rig, http: httpx2.Client, client: Client, worker: Worker
) -> None:
    with holding(rig, client, say("Begun, "), say("ended."), finish(), done()) as held:
        path = f"/streams/{held.id}/text"
        first = http.get(f"{path}?offset=-1&live=long-poll")
        assert first.text == "Begun, "
        cursor = first.headers["Stream-Cursor"]
        offset = first.headers["Stream-Next-Offset"]
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(http.get, f"{path}?offset={offset}&live=long-poll&cursor={cursor}")
            time.sleep(0.2)
            assert not again.done()
            held.go_on()
            second = again.result(PATIENCE)
        assert second.status_code == 200
        assert "ended.".startswith(second.text)
        assert int(second.headers.get("Stream-Cursor", 10**9)) > int(cursor)
        client.ended(held.id)
        tail = http.head(path).headers["Stream-Next-Offset"]

    closed = http.get(f"{path}?offset={tail}&live=long-poll")

    assert (closed.status_code, closed.content) == (204, b"")
    assert closed.headers["Stream-Closed"] == closed.headers["Stream-Up-To-Date"] == "true"
    assert closed.headers["Stream-Next-Offset"] == tail
    assert "Stream-Cursor" not in closed.headers


def test_a_process_that_would_cut_at_once_is_not_waited_for(
    rig: Rig, client: Client, worker: Worker
) -> None:
    web = rig.web(OUTLIVE_STREAM_MAX_SECONDS="0.0000001", WEB_CONCURRENCY="1")
    with (
        holding(rig, client, say("Begun."), finish(), done()) as held,
        httpx2.Client(base_url=web.url, timeout=PATIENCE, verify=False) as http,
    ):
        answer = http.get(f"/streams/{held.id}?offset=now&live=long-poll")

        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["Stream-Up-To-Date"] == "true"
        assert answer.headers["Stream-Cursor"].isdigit()
        head = http.head(f"/streams/{held.id}")
        assert answer.headers["Stream-Next-Offset"] == head.headers["Stream-Next-Offset"]

        refused = http.get(f"/streams/{held.id}?offset=now&live=sse")
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert refused.headers["Retry-After"] == "1"


@pytest.mark.parametrize("content", CONTENTS, ids=["chunks", "text"])
def test_events_go_on_until_the_end(
    rig: Rig, http: httpx2.Client, client: Client, worker: Worker, content: Content
) -> None:
    path = "/text" if content is TEXT else ""
    frames = b""
    with (
        holding(rig, client, say("Begun,\n "), say("ended."), finish(), done()) as held,
        http.stream("GET", f"/streams/{held.id}{path}?offset=-1&live=sse") as answer,
    ):
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert "no-cache" in answer.headers["Cache-Control"]
        for piece in answer.iter_bytes():
            frames += piece
            if b"Begun" in frames:
                held.go_on()

    data, controls = items_of(content, frames)

    if content is TEXT:
        assert "".join(data) == "Begun,\n ended."
    else:
        chunks = [json.loads(one) for one in data]
        assert "".join(one.get("delta", "") for one in chunks) == "Begun,\n ended."
        assert chunks[-1]["type"] == "finish"
    assert "streamClosed" not in controls[0]
    assert controls[-1]["streamClosed"] is True
    tail = http.head(f"/streams/{held.id}{path}").headers["Stream-Next-Offset"]
    assert controls[-1]["streamNextOffset"] == tail


def test_what_failed_is_said_in_a_chunk(
    http: httpx2.Client, client: Client, worker: Worker
) -> None:
    message = ended(client, say("Half of"), cut())

    chunks = http.get(f"/streams/{message}").json()

    assert types(chunks)[-4:] == ["text-end", "message-metadata", "finish-step", "error"]
    assert chunks[-3]["messageMetadata"]["outlive"]["error"] == {"code": "provider_cut"}
    assert "connection" in chunks[-1]["errorText"]


def test_what_was_stopped_is_finished_with_its_status(
    rig: Rig, http: httpx2.Client, client: Client, worker: Worker
) -> None:
    with holding(rig, client, say("Half of"), finish(), done()) as held:
        client.stop(held.id)
        client.ended(held.id)

    last = http.get(f"/streams/{held.id}").json()[-1]

    assert (last["type"], last["finishReason"]) == ("finish", "other")
    assert last["messageMetadata"]["outlive"]["status"] == "CANCELLED"


def test_what_is_not_there_is_said_so(http: httpx2.Client, client: Client, worker: Worker) -> None:
    conversation = client.conversation()
    message = client.ask(script(say("Hello"), finish(), done(), tag=new_id()), conversation)
    client.ended(message)

    for query in ("", "?offset=now", "?offset=-1&live=sse", "?offset=-1&live=long-poll"):
        unknown = http.get(f"/streams/{new_id()}{query}")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
        assert unknown.headers["X-Content-Type-Options"] == "nosniff"
    assert http.get("/streams/no-id").status_code == 404
    client.http.delete(f"/api/conversations/{conversation}")
    gone = http.get(f"/streams/{message}")
    assert (gone.status_code, gone.json()["code"]) == (410, "gone")
    client.http.post(f"/api/conversations/{conversation}/undelete")
    assert http.get(f"/streams/{message}/text").text == "Hello"


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
def test_nothing_can_be_written(
    http: httpx2.Client, client: Client, worker: Worker, method: str
) -> None:
    message = ended(client, say("Hello"), finish(), done())

    answer = http.request(method, f"/streams/{message}", content=b"more")

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_long_answer_is_read_in_several_requests(
    rig: Rig, http: httpx2.Client, client: Client, worker: Worker
) -> None:
    message = ended(client, long(1_500_000, chunk=10_000), finish(), done())
    text = client.message(message)["text"]
    found, offset, reads = "", "-1", 0
    while True:
        answer = http.get(f"/streams/{message}?offset={offset}")
        found += "".join(chunk.get("delta", "") for chunk in answer.json())
        offset, reads = answer.headers["Stream-Next-Offset"], reads + 1
        if "Stream-Up-To-Date" in answer.headers:
            break
        assert "Stream-Closed" not in answer.headers

    assert found == text
    assert 2 <= reads <= 4
