"""Parsing a provider's stream: dialects, noise, and ten thousand broken streams."""

import gc
import json
import random
import re
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.body import Body
from shared.errors import MESSAGE_ERRORS, GenerationFailed
from shared.sse import Event
from tests.strategies import cut, thorough
from worker.provider.chunks import ChunkParser
from worker.provider.json_values import LINE_LIMIT, WINDOW
from worker.provider.refusals import Refusal
from worker.provider.reply import Reply
from worker.provider.reply_parser import ReplyParser

DONE = "[DONE]"
#: Characters of tool calls that may be collected.
LIMIT = 100_000
#: Everything that a broken stream may raise; each becomes an ERROR.
EXPECTED = (GenerationFailed, Refusal)


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None}


def finish(reason: Any = "stop", **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def call(index: Any, call_id: Any = None, name: Any = None, arguments: Any = None) -> Any:
    function = {"name": name, "arguments": arguments}
    return chunk(tool_calls=[{"index": index, "id": call_id, "function": function}])


def taken(*chunks: Any, close: bool = True) -> tuple[Reply, Body]:
    """A reply made of these chunks, and the body that it wrote."""
    body = Body()
    reply = Reply(body.write, LIMIT)
    parser = ChunkParser(reply)
    for one in chunks:
        parser.take(Event(one if isinstance(one, str) else json.dumps(one)))
    if close:
        reply.close()
    return reply, body


def parts(*chunks: Any) -> list[tuple[str, str]]:
    _, body = taken(*chunks)
    return [(part.kind, part.text) for part in body.parts]


# --- dialects -------------------------------------------------------------------------------------


def test_an_ordinary_stream_gives_text_reason_and_usage() -> None:
    reply, body = taken(
        chunk(role="assistant", content="", refusal=None),
        chunk(content="Hel"),
        chunk(content="lo"),
        finish("stop"),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
        DONE,
    )

    assert body.text == body.content == "Hello"
    assert (reply.finish_reason, reply.done, reply.ended) == ("stop", True, True)
    assert reply.usage == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "source": "reported",
    }


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_under_either_name_is_a_part_before_the_text(field: str) -> None:
    assert parts(
        chunk(**{field: "Well"}), chunk(**{field: " so"}), chunk(content="Yes"), finish()
    ) == [("reasoning", "Well so"), ("text", "Yes")]


def test_reasoning_comes_before_text_of_the_same_chunk() -> None:
    assert parts(chunk(content="Yes", reasoning="Well")) == [("reasoning", "Well"), ("text", "Yes")]


def test_a_refusal_is_text() -> None:
    assert parts(chunk(refusal="I "), chunk(refusal="won't")) == [("text", "I won't")]


def test_the_last_text_may_come_with_the_reason() -> None:
    reply, body = taken(chunk(content="a"), finish("length", content="b"))

    assert (body.text, reply.finish_reason) == ("ab", "length")


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(chunk(), id="an empty delta"),
        pytest.param(chunk(content=None), id="null"),
        pytest.param(chunk(content=""), id="an empty string"),
        pytest.param({"choices": []}, id="no choices"),
        pytest.param({"choices": None}, id="choices null"),
        pytest.param({}, id="an empty object"),
        pytest.param({"choices": [{"index": 0}]}, id="no delta"),
        pytest.param({"choices": [{"index": 0, "delta": None}]}, id="delta null"),
        pytest.param({"choices": [{"index": 1, "delta": {"content": "x"}}]}, id="another choice"),
        pytest.param({"error": None}, id="error null"),
        pytest.param({"id": "c", "prompt_filter_results": [{}]}, id="Azure's filter results"),
        pytest.param({"choices": [], "usage": 7}, id="usage is a number"),
        pytest.param(chunk(annotations=[{"type": "url_citation"}]), id="annotations"),
    ],
)
def test_chunks_without_content_change_nothing(noise: Any) -> None:
    reply, body = taken(chunk(content="a"), noise, chunk(content="b"))

    assert (body.text, len(body.parts)) == ("ab", 1)
    assert not reply.ended


def test_a_choice_without_index_is_the_first() -> None:
    assert parts({"choices": [{"delta": {"content": "a"}}]}) == [("text", "a")]


@pytest.mark.parametrize("space", ["[DONE]", " [DONE]", "[DONE] ", "[DONE]\n"])
def test_done_is_recognised_with_space_around_it(space: str) -> None:
    reply, _ = taken(chunk(content="a"), space)

    assert reply.done


# --- the end --------------------------------------------------------------------------------------


def test_without_an_explicit_end_it_has_not_ended() -> None:
    reply, _ = taken(chunk(content="The end."), {"choices": [], "usage": {"total_tokens": 1}})

    assert not reply.ended


@pytest.mark.parametrize("reason", [None, "", 0, False, [], {}, True, 7])
def test_only_a_finish_reason_that_is_a_word_is_an_end(reason: Any) -> None:
    # Some servers send an empty reason with every chunk.
    reply, body = taken(chunk(content="a"), finish(reason), finish(reason, content="b"))

    assert body.text == "ab"
    assert not reply.ended
    assert reply.finish_reason is None


@pytest.mark.parametrize(("name", "arguments"), [("g", None), ("g", "1"), (None, "1"), ("", "1")])
def test_a_call_that_changes_after_the_finish_reason_shows_that_it_was_none(
    name: str | None, arguments: str | None
) -> None:
    # Also where its name gets shorter by as much as its arguments grow.
    reply, _ = taken(call(0, "a", "f1", "{"), finish(), call(0, "a", name, arguments))

    assert not reply.ended


def test_a_call_that_is_repeated_after_the_finish_reason_changes_nothing() -> None:
    reply, _ = taken(call(0, "a", "f", "{"), finish(), call(0, "a", "f", ""))

    assert reply.ended


def test_a_finish_reason_of_another_choice_is_ignored() -> None:
    other = {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}

    reply, _ = taken(chunk(content="a"), other)

    assert not reply.ended


def test_an_unknown_finish_reason_is_made_storable() -> None:
    reply, _ = taken(finish("st\x00op\ud800"))

    assert reply.finish_reason == "st\ufffdop\ufffd"


def test_an_empty_finish_reason_does_not_replace_an_earlier_one() -> None:
    reply, _ = taken(finish("stop"), finish(None), finish(""))

    assert reply.finish_reason == "stop"


# --- text that cannot be stored -------------------------------------------------------------------


def test_a_surrogate_pair_split_over_two_chunks_is_joined() -> None:
    assert parts(chunk(content="a\ud83d"), chunk(content="\ude00b")) == [("text", "a😀b")]


def test_half_a_pair_is_not_joined_across_two_parts() -> None:
    assert parts(chunk(reasoning="a\ud83d"), chunk(content="\ude00b")) == [
        ("reasoning", "a\ufffd"),
        ("text", "\ufffdb"),
    ]


def test_half_a_pair_before_an_explicit_end_is_replaced() -> None:
    assert parts(chunk(content="a\ud83d"), finish()) == [("text", "a\ufffd")]
    assert parts(chunk(content="a\ud83d"), DONE) == [("text", "a\ufffd")]
    assert parts(call(0, "i", "f", "1\ud83d"), finish()) == [("tool_call", "1\ufffd")]


def test_half_a_pair_is_dropped_where_the_reply_breaks_off() -> None:
    assert parts(chunk(content="a\ud83d")) == [("text", "a")]
    assert parts(chunk(content="\ud83d")) == []
    assert parts(chunk(content="<think>a\ud83d")) == [("reasoning", "a")]
    assert parts(call(0, "i", "f", "1\ud83d")) == [("tool_call", "1")]
    assert parts(finish("stop", content="a"), chunk(content="b\ud83d")) == [("text", "ab")]


@thorough(200)
@given(
    st.text("a\n\0😀𝄞", min_size=1, max_size=12),
    st.integers(0, 24),
    st.lists(st.integers(0, 24), max_size=4),
    st.sampled_from(["content", "reasoning", "arguments"]),
    st.sampled_from([None, finish(), DONE]),
)
def test_a_reply_may_break_off_between_any_two_utf_16_units(
    text: str, units: int, places: list[int], field: str, end: Any
) -> None:
    came = text.encode("utf-16-le")[: 2 * units]
    pieces = [piece.decode("utf-16-le", "surrogatepass") for piece in cut_units(came, places)]
    chunks = [
        call(0, "i", "f", piece) if field == "arguments" else chunk(**{field: piece})
        for piece in pieces
        if piece
    ]

    _, body = taken(*chunks, *([end] if end else []))

    whole = came.decode("utf-16-le", "ignore" if end is None else "replace").replace("\0", "\ufffd")
    assert body.content == (whole or ("{}" if chunks and field == "arguments" else ""))


def cut_units(data: bytes, places: list[int]) -> list[bytes]:
    """UTF-16 in pieces of whole units."""
    return cut(data, [2 * place for place in places])


def test_nul_is_replaced() -> None:
    assert parts(chunk(content="a\x00b")) == [("text", "a\ufffdb")]


# --- tool calls -----------------------------------------------------------------------------------


def test_a_tool_call_is_written_as_it_comes_and_text_after_its_beginning_follows() -> None:
    body = Body()
    parser = ChunkParser(Reply(body.write, LIMIT))
    shown = []
    for one in (
        chunk(content="One moment."),
        call(0, "call_1", "weather", ""),
        call(0, None, None, '{"city":'),
        chunk(content="Done."),
        call(0, None, None, '"Rome"}'),
        finish("tool_calls"),
    ):
        parser.take(Event(json.dumps(one)))
        shown.append(body.content)
    parser.reply.close()

    assert shown[1:] == [
        "One moment.",
        'One moment.{"city":',
        'One moment.{"city":',
        'One moment.{"city":"Rome"}',
        'One moment.{"city":"Rome"}',
    ]
    before, tool, after = body.parts
    assert (before.text, after.text) == ("One moment.", "Done.")
    assert (tool.kind, tool.text) == ("tool_call", '{"city":"Rome"}')
    assert tool.meta == {"id": "call_1", "name": "weather"}


def test_a_call_begins_when_its_id_and_its_name_are_known_and_keeps_them() -> None:
    _, body = taken(
        call(0, "a", None, "1"),
        chunk(content="Before."),
        call(0, None, "f", "2"),
        call(0, None, "other", "3"),
        chunk(reasoning="After."),
    )

    assert [(part.kind, part.text, part.meta) for part in body.parts] == [
        ("text", "Before.", None),
        ("tool_call", "123", {"id": "a", "name": "f"}),
        ("reasoning", "After.", None),
    ]


def test_calls_that_are_held_come_before_text_that_is_held() -> None:
    found = parts(
        call(0, "a", "f", "1"), chunk(content="x"), call(1, "b", "g", "2"), chunk(content="y")
    )

    assert found == [("tool_call", "1"), ("tool_call", "2"), ("text", "xy")]


def test_half_a_pair_before_a_call_is_replaced() -> None:
    found = parts(chunk(content="a\ud83d"), call(0, "a", "f", "1"), chunk(content="\ude00"), DONE)

    assert found == [("text", "a\ufffd"), ("tool_call", "1"), ("text", "\ufffd")]


def test_text_that_is_held_is_bounded() -> None:
    pieces = [chunk(content="x" * 1000)] * (LIMIT // 1000 + 1)

    _, body = taken(call(0, "a", "f", "1"), *pieces, close=False)

    assert body.length >= LIMIT  # written; a Generation would raise TooLong


def test_interleaved_tool_calls_stay_apart() -> None:
    _, body = taken(
        call(0, "a", "f", "1"), call(1, "b", "g", "2"), call(0, "", None, "3"), call(1, None, "", 4)
    )

    assert [(part.text, part.meta) for part in body.parts] == [
        ("13", {"id": "a", "name": "f"}),
        ("2", {"id": "b", "name": "g"}),
    ]


def test_a_tool_call_without_arguments_gets_an_empty_object() -> None:
    assert parts(call(0, "a", "now")) == [("tool_call", "{}")]


def test_a_tool_call_split_within_a_pair_is_joined_and_storable() -> None:
    _, body = taken(call(0, "a\x00", "f\ud800", "\ud83d"), call(0, None, None, "\ude00\x00"))

    assert [(part.text, part.meta) for part in body.parts] == [
        ("😀\ufffd", {"id": "a\ufffd", "name": "f\ufffd"})
    ]


def test_tool_calls_are_written_once() -> None:
    reply, body = taken(call(0, "a", "f", "1"))

    reply.close()

    assert body.content == "1"


def test_collected_tool_calls_are_bounded() -> None:
    pieces = [call(0, "a", "f", "x" * 1000)] * (LIMIT // 1000 + 1)

    _, body = taken(*pieces, close=False)

    assert body.length >= LIMIT  # written; a Generation would raise TooLong


@pytest.mark.parametrize("index", ["0", 1.5, {}, [1]])
def test_a_tool_call_with_an_impossible_index_is_malformed(index: Any) -> None:
    if not index:
        assert parts(call(index, "a", "f", "1")) == [("tool_call", "1")]
        return

    with pytest.raises(GenerationFailed, match="provider_malformed"):
        taken(call(index, "a", "f", "1"))


# --- usage ----------------------------------------------------------------------------------------


def test_usage_keeps_counts_and_one_level_of_details() -> None:
    usage = {
        "prompt_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 1, "deeper": {"x": 1}, "none": None},
        "cost": 0.5,
        "negative": -1,
        "huge": 1 << 60,
        "flag": True,
        "text": "10",
    }

    reply, _ = taken({"choices": [], "usage": usage})

    assert reply.usage == {
        "prompt_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 1},
        "source": "reported",
    }


def test_the_last_of_several_usages_counts() -> None:
    reply, _ = taken(
        {**chunk(content="a"), "usage": {"total_tokens": 1}},
        {**chunk(content="b"), "usage": {"total_tokens": 2}},
        {**chunk(content="c"), "usage": None},
    )

    assert reply.usage == {"total_tokens": 2, "source": "reported"}


def test_names_in_a_usage_are_made_storable() -> None:
    reply, _ = taken({"choices": [], "usage": {"a\x00": 1, "b": {"c\ud800": 2}, "d\x00": {}}})

    assert reply.usage == {"a\ufffd": 1, "b": {"c\ufffd": 2}, "d\ufffd": {}, "source": "reported"}


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [{"message": "overloaded"}, "overloaded", 529, [{"code": 1}], {"a": None}]
)
def test_an_error_in_the_stream_is_reported_without_its_text(error: Any) -> None:
    with pytest.raises(GenerationFailed, match="provider_error") as caught:
        taken(chunk(content="a"), {"error": error})

    assert "overloaded" not in str(caught.value)
    assert MESSAGE_ERRORS[caught.value.code][1]  # Retry may help


def test_an_error_event_is_an_error_whatever_its_data() -> None:
    parser = ChunkParser(Reply(Body().write, LIMIT))

    with pytest.raises(GenerationFailed, match="provider_error"):
        parser.take(Event("{}", "error"))


@pytest.mark.parametrize(
    "data",
    [
        "{",
        "DONE",
        "[]",
        '"text"',
        "7",
        '{"choices": 7}',
        '{"choices": ["a"]}',
        '{"choices": {"0": {}}}',
        '{"choices": [{"delta": {"content": 7}}]}',
        '{"choices": [{"delta": {"content": [7]}}]}',
        '{"choices": [{"delta": {"content": true}}]}',
        '{"choices": [{"delta": {"tool_calls": {}}}]}',
        '{"choices": [{"delta": {"tool_calls": [7]}}]}',
        "[" * 100_000,
        '{"usage": {"total_tokens": ' + "9" * 5000 + "}}",
    ],
)
def test_data_that_cannot_be_parsed_is_malformed(data: str) -> None:
    with pytest.raises(GenerationFailed, match="provider_malformed"):
        taken(data)


# --- ten thousand broken streams ------------------------------------------------------------------

STREAM = "".join(
    f"{line}\n\n"
    for line in [
        ": keep-alive",
        "data: " + json.dumps(chunk(role="assistant", content="")),
        "data: " + json.dumps(chunk(reasoning="Hm 😀"), ensure_ascii=False),
        "data: " + json.dumps(chunk(content="Grüße\u2028\r\n")),
        "data: " + json.dumps(chunk(content="a\ud83d")),
        "data: " + json.dumps(chunk(content="\ude00b")),
        "data: " + json.dumps(call(0, "c", "f", '{"a":1}')),
        "data: " + json.dumps(finish("stop")),
        "data: " + json.dumps({"choices": [], "usage": {"total_tokens": 9}}),
        "data: [DONE]",
    ]
).encode()


def read(chunks: Iterable[bytes]) -> tuple[Reply, Body]:
    """Parse a body as the worker does. Only EXPECTED may be raised, and the partial is kept."""
    body = Body()
    reply = Reply(body.write, LIMIT)
    parser = ReplyParser(reply)
    try:
        for piece in chunks:
            if not reply.done:
                parser.feed(piece)
        list(parser.end(whole=True))
    except EXPECTED:
        pass
    finally:
        reply.close()
    return reply, body


def has_explicit_end(stream: bytes) -> bool:
    """Whether a whole event of the stream is an explicit end, found without our decoder."""
    text = re.sub("\r\n?", "\n", stream.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))
    return any(_is_end(block) for block in re.split("\n\n+", text)[:-1])


def _is_end(block: str) -> bool:
    lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
    data = "\n".join(lines).strip()
    # Broken JSON may hide an end, but must not invent one.
    return data.strip(chr(34)).endswith(DONE) or bool(re.search(r'"finish_reason":\s*"[^"]', data))


def assert_honest(stream: bytes, chunks: Iterable[bytes]) -> None:
    reply, body = read(chunks)

    if reply.ended:
        assert has_explicit_end(stream)
    stored = json.dumps([body.content, reply.finish_reason, reply.usage], ensure_ascii=False)
    assert "\\u0000" not in stored.replace(r"\\", "")  # an escaped backslash begins no escape
    assert stored.encode()


def test_the_stream_to_be_mutated_is_valid() -> None:
    reply, body = read([STREAM])

    assert body.content == 'Hm 😀Grüße\u2028\r\na😀b{"a":1}'
    assert (reply.finish_reason, reply.done) == ("stop", True)


def test_a_stream_cut_at_any_byte_has_ended_only_after_the_finish_reason() -> None:
    reason = STREAM.index(b'"stop"')
    end = STREAM.index(b"\n\n", reason) + 2

    for place in range(len(STREAM)):
        reply, _ = read([STREAM[:place]])
        assert reply.ended == (place >= end), place


def test_no_wrong_byte_invents_an_end_or_raises_an_unexpected_error() -> None:
    """About five thousand streams: each byte dropped, doubled or replaced."""
    for place in range(len(STREAM)):
        before, byte, after = STREAM[:place], STREAM[place : place + 1], STREAM[place + 1 :]
        for wrong in (b"", byte + byte, b"\n", b'"', b"\x80", bytes([byte[0] ^ 1])):
            broken = before + wrong + after
            assert_honest(broken, [broken])


@thorough(200)
@given(
    st.lists(
        st.tuples(
            st.text('a[{}]\\" é😀', min_size=1, max_size=20),
            st.sampled_from([1, WINDOW // 20, WINDOW // 2, WINDOW, WINDOW * 9]),
            st.sampled_from(["", " ", "\n\n", " " * WINDOW * 9]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
    st.booleans(),
)
def test_values_of_a_document_are_parsed_across_any_window(
    values: list[tuple[str, int, str]], escaped: bool, done: bool
) -> None:
    texts = [letters * times for letters, times, _ in values]
    document = "".join(
        json.dumps(chunk(content=text), ensure_ascii=escaped) + blanks
        for text, (_, _, blanks) in zip(texts, values, strict=True)
    )
    document += DONE if done else ""
    if len(document.encode()) > LINE_LIMIT or "".join(texts).isspace():
        return
    reply, body = read([document.encode()])

    assert body.content == "".join(texts)
    assert reply.done == done


def test_a_document_being_parsed_is_held_as_bytes_only() -> None:
    value = '{"choices": [{"message": {"content": "x"}}]}'
    rest = json.dumps({"usage": {}, "more": "😀" * 150_000}, ensure_ascii=False)
    reply = Reply(Body().write, LIMIT)
    tracemalloc.start()
    document = (value + rest).encode()
    turns = ChunkParser(reply).take_document(document)
    before = tracemalloc.get_traced_memory()[0] - len(document)
    held = []
    for _ in turns:
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()

    assert max(held) < 2 * len(document) + 20_000  # of which the test holds one document
    assert reply.answered


@pytest.mark.failure(22)
@thorough(80)
@given(st.integers(0, 1 << 32))
def test_no_mutation_invents_an_end_or_raises_an_unexpected_error(seed: int) -> None:
    """Fifty mutated streams for each seed, cut into chunks."""
    dice = random.Random(seed)
    for _ in range(50):
        broken = bytearray(STREAM)
        for _ in range(dice.randint(1, 6)):
            mutate(broken, dice)
        places = [dice.randrange(len(broken) + 1) for _ in range(4)]
        assert_honest(bytes(broken), cut(bytes(broken), places))


def mutate(stream: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(stream) + 1)
    end = min(len(stream), start + dice.choice([0, 1, 2, 20, 200]))
    other = dice.randrange(len(stream) + 1)
    match dice.randrange(5):
        case 0:
            del stream[start:end]
        case 1:
            stream[start:start] = stream[other : other + 60]
        case 2:
            stream[start:end] = dice.randbytes(end - start)
        case 3:
            del stream[start:]
        case _:
            stream[start:end] = dice.choice(TOKENS)


TOKENS = [
    b"\n\n", b"\r", b"null", b"{}", b"[]", b'""', b"true", b"-1", b"1e999", b"NaN", b"\\ud83d",
    b"\\u0000", b'"error":1,', b"event: error\n", b"data: ", b"retry: 99999999999999999999\n",
    b'{"choices":[{"delta":{"content":', b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 5000, b"[" * 5000,
]  # fmt: skip
