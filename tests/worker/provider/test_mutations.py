"""Ten thousand mutated streams, received as the worker does, and compared with the oracle.

The same streams go through the whole service in tests/end_to_end/test_mutated_streams.py.
"""

import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripted import mutations, parse_script
from scripted.mutations import CLOSES, Stream
from shared.body import Body
from shared.errors import GenerationFailed
from shared.settings import Settings
from shared.store.owning import Claim
from tests.oracle import Verdict, verdict
from tests.strategies import cut, thorough
from worker.generation import Generation, TooLong
from worker.provider import retries
from worker.provider.client import ChatRequest, Provider
from worker.provider.refusals import RequestForm

STREAMS = 10_000
REQUEST = ChatRequest("scripted", [], {})
#: Built once: it takes a quarter of a second.
BUILT = Provider(Settings.model_validate({"OPENAI_BASE_URL": "http://127.0.0.1:9"}))
seeds = st.integers(0, 1 << 48)


class PlayedProvider(Provider):
    """A provider whose response is a given stream, without a connection."""

    def __init__(self, stream: Stream) -> None:
        vars(self).update(vars(BUILT))
        self._stream = stream

    def _open(self, request: ChatRequest, form: RequestForm) -> Any:
        self.pieces = self._arriving()
        self.content_type = "text/event-stream"
        return nullcontext(self)

    def _arriving(self) -> Iterator[bytes]:
        yield from self._stream.chunks
        match self._stream.close:
            case "closed" | "torn":
                raise httpx2.RemoteProtocolError("no end of the body")
            case "reset":
                raise httpx2.ReadError("connection reset by peer")


def read(stream: Stream) -> Verdict:
    """The worker's verdict; a hang is judged as if the wait had been cut short."""
    body, right = Body(), verdict(stream)
    if stream.close == "hanging" and stream.data.lstrip()[:1] in (b"{", b"["):
        return right  # a document without end is not parsed, so there is nothing to compare
    status, code, reason, usage = "DONE", None, None, None
    try:
        reply = PlayedProvider(stream).stream(REQUEST, body.write)
    except GenerationFailed as failure:
        status, code, usage = "ERROR", failure.code, right.usage  # counted by the writer
    else:
        reason, usage = reply.finish_reason or "stop", reply.usage
    if code == "provider_cut" and stream.close == "hanging":
        code = "provider_stalled"
    parts = tuple((part.kind, part.text, dict(part.meta or {}) or None) for part in body.parts)
    return Verdict(status, code, reason, usage, parts)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without a pause, as each try gets the same stream."""
    monkeypatch.setattr(retries, "BACKOFF", 0.0)


def test_ten_thousand_mutated_streams_end_as_the_oracle_says() -> None:
    first, ends = random.randrange(10**9), Counter[str]()
    for seed in range(first, first + STREAMS):
        stream = mutations.stream(seed)
        right = verdict(stream)
        assert read(stream) == right, f"seed {seed}"
        ends[right.code or right.status] += 1

    # and there are enough streams of each kind
    for end in ("DONE", "provider_malformed", "provider_cut", "provider_error"):
        assert ends[end] > STREAMS / 200, ends


@thorough(300)
@given(seeds, st.lists(st.integers(0, 20_000), max_size=12), st.sampled_from(sorted(CLOSES)))
def test_the_result_does_not_depend_on_how_a_stream_is_cut(
    seed: int, places: list[int], close: mutations.Close
) -> None:
    data = mutations.stream(seed).data
    chunks = tuple(chunk for chunk in cut(data, places) if chunk)

    assert read(Stream(chunks, close)) == verdict(Stream((data,), close))


@thorough(100)
@given(seeds)
def test_a_stream_byte_by_byte_gives_the_same_result(seed: int) -> None:
    stream = mutations.stream(seed)
    data = stream.data[:5000]
    whole = Stream((data,), stream.close)

    assert read(Stream(tuple(bytes([byte]) for byte in data), stream.close)) == verdict(whole)


def test_a_seed_always_gives_the_same_mutated_stream() -> None:
    before = [mutations.stream(seed) for seed in range(200)]

    assert [mutations.stream(seed) for seed in range(200)] == before


def test_a_question_for_a_mutated_stream_holds_only_its_seed() -> None:
    script = parse_script(mutations.question(7))

    assert script is not None
    assert (script.steps, script.role) == ([{"do": "mutated", "seed": 7}], False)


def test_everything_after_done_is_ignored() -> None:
    good = b'data: {"choices": [{"delta": {"content": "All."}}]}\n\ndata: [DONE]\n\n'

    for rest in (b"\xff\n", b"x" * 1_100_000, b"data: {\n\n", b'data: {"error": 1}\n\n'):
        found = read(Stream((good + rest, rest), "reset"))
        assert (found.status, found.finish_reason, found.body) == ("DONE", "stop", "All.")


FRAMES = [{"content": "A"}, {"tool_calls": [{"index": 0, "function": {"arguments": "x" * 99}}]}]
TALK = "".join(f"data: {json.dumps({'choices': [{'delta': one}]})}\n\n" for one in FRAMES).encode()


@pytest.mark.parametrize(
    ("data", "close", "code"),
    [
        (TALK, "whole", "provider_cut"),
        (TALK, "reset", "provider_cut"),
        (TALK + b"data: {\n\n", "whole", "provider_malformed"),
        (TALK + b'data: {"error": 1}\n\n', "whole", "provider_error"),
    ],
)
def test_a_failure_stays_a_failure_when_held_text_exceeds_the_limit(
    data: bytes, close: mutations.Close, code: str
) -> None:
    claim = Claim(uuid.uuid4(), 1, "scripted", {}, 0.0, uuid.uuid4())
    generation = Generation(claim, limit=50, grown=lambda _: None)

    with pytest.raises(GenerationFailed) as failure:
        PlayedProvider(Stream((data,), close)).stream(REQUEST, generation.write)

    assert failure.value.code == code
    assert generation.body.content == "A" + "x" * 49


def test_held_text_that_exceeds_the_limit_raises_too_long() -> None:
    claim = Claim(uuid.uuid4(), 1, "scripted", {}, 0.0, uuid.uuid4())
    generation = Generation(claim, limit=50, grown=lambda _: None)

    with pytest.raises(TooLong):
        PlayedProvider(Stream((TALK + b"data: [DONE]\n\n",), "whole")).stream(
            REQUEST, generation.write
        )


# --- the oracle itself ----------------------------------------------------------------------------

STOP = b'data: {"choices": [{"delta": {"content": "A"}, "finish_reason": "stop"}]}\n\n'


@pytest.mark.parametrize(
    ("data", "close", "end", "body"),
    [
        (STOP, "whole", "stop", "A"),
        (STOP, "reset", "stop", "A"),
        (STOP.replace(b"\n", b"\r"), "whole", "stop", "A"),
        (STOP.replace(b"\n", b"\r\n"), "whole", "stop", "A"),
        (b"\xef\xbb\xbf" + STOP, "whole", "stop", "A"),
        (STOP[:-1], "whole", "provider_cut", ""),
        (STOP.replace(b'"stop"', b'""'), "whole", "provider_cut", "A"),
        (STOP.replace(b'"stop"', b"7"), "hanging", "provider_stalled", "A"),
        (b"\xff\n" + STOP, "whole", "stop", "A"),
        (STOP.replace(b'"A"', b'"\xff"'), "whole", "stop", "\ufffd"),
        (STOP + STOP.replace(b'"stop"', b"null"), "whole", "provider_cut", "AA"),
        (STOP + b"data: {\n\n", "whole", "provider_malformed", "A"),
        (STOP + b"data: {\n", "whole", "stop", "A"),
        (STOP + b'data: {"error": "x"}\n\n', "whole", "provider_error", "A"),
        (STOP + b'data: {"error": null}\n\n', "whole", "stop", "A"),
        (b"data: [DONE]\n\n" + STOP, "whole", "provider_empty", ""),
        (b"data:[DONE]\n\n", "torn", "provider_empty", ""),
        (b"data: \n\n" + STOP, "whole", "stop", "A"),
        (STOP[6:], "whole", "stop", "A"),
        (STOP[6:-9], "whole", "provider_malformed", ""),
        (b"[]null" + STOP, "reset", "provider_cut", ""),
        (b"[]null" + STOP, "whole", "provider_malformed", ""),
        (b"error: x\n\n" + STOP, "whole", "provider_error", ""),
        (b": hm\n\nevent: x\n\n" + STOP, "whole", "stop", "A"),
        (b"data\n\n" + STOP, "whole", "stop", "A"),
        (b"", "closed", "provider_cut", ""),
    ],
)
def test_the_oracle_agrees_with_results_written_by_hand(
    data: bytes, close: mutations.Close, end: str, body: str
) -> None:
    found = verdict(Stream((data,), close))

    assert (found.code or found.finish_reason, found.body) == (end, body)


def test_the_oracle_joins_and_orders_parts_as_documented() -> None:
    deltas = [
        {"content": "a\ud83d"},
        {"content": "\ude00", "reasoning": "r"},
        {"tool_calls": [{"index": 1, "id": "c1", "function": {"arguments": "1"}}]},
        {"content": "\0"},
        {"tool_calls": [{"index": 1, "function": {"name": "f", "arguments": "2"}}]},
    ]
    frames = [json.dumps({"choices": [{"delta": delta}]}) for delta in deltas]
    data = "".join(f"data: {frame}\n\n" for frame in frames).encode()

    assert verdict(Stream((data,), "reset")).parts == (
        ("text", "a\ufffd", None),
        ("reasoning", "r", None),
        ("text", "\ufffd\ufffd", None),
        ("tool_call", "12", {"id": "c1", "name": "f"}),
    )
