"""The arithmetic of positions: a reader is equal to the writer, or knows that text is missing."""

import math
import uuid
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from shared.body import CHUNK, Body, Delta, Gap, Misplaced, Part
from shared.bus.coding import Payload, decode, encode
from shared.bus.livelog import extend
from tests.strategies import (
    Opened,
    Written,
    between,
    bodies,
    body_of,
    grow,
    grown,
    growth,
    texts,
    thorough,
    writings,
    written,
)

positions = st.integers(0, 60)
spans = st.tuples(positions, st.integers(1, 30)).map(lambda span: (span[0], sum(span)))


def same(one: Body, other: Body) -> bool:
    return one.since(0) == other.since(0)


# --- the writer's side ----------------------------------------------------------------------------


@given(writings)
def test_a_body_holds_what_was_written_in_its_order(calls: list[Written]) -> None:
    body = body_of(calls)

    content = "".join(call.text for call in calls)
    assert body.content == content
    assert body.length == len(content)
    assert body.text == "".join(call.text for call in calls if call.kind == "text")


@given(writings)
def test_a_part_ends_where_the_kind_changes_or_a_fresh_one_begins(calls: list[Written]) -> None:
    body = body_of(calls)

    expected: list[tuple[str, str]] = []
    for call in filter(lambda call: call.text, calls):
        if expected and expected[-1][0] == call.kind and not call.fresh:
            expected[-1] = (call.kind, expected[-1][1] + call.text)
        else:
            expected.append((call.kind, call.text))
    assert [(part.kind, part.text) for part in body.parts] == expected


def test_meta_is_fixed_by_the_first_character() -> None:
    body = Body()

    body.write("tool_call", "", {"id": "too early"})
    body.write("tool_call", "{", {"id": "1"})
    late = body.write("tool_call", "}", {"id": "2"})

    assert late.meta == {"id": "1"}
    assert [part.meta for part in body.parts] == [{"id": "1"}]


def test_positions_are_code_points() -> None:
    body = Body()

    emoji = body.write("text", "😀")
    rest = body.write("text", "e\u0301")

    assert (emoji.start, emoji.end) == (0, 1)
    assert (rest.start, rest.end) == (1, 3)
    assert body.since(1) == [Delta(1, 0, "text", "e\u0301")]


# --- since is the inverse of append ---------------------------------------------------------------


@given(bodies)
def test_since_the_beginning_gives_the_whole_body_back(body: Body) -> None:
    again = Body(body.since(0))

    assert again.parts == [
        Part(part.kind, part.start, part.meta, [part.text], [part.start], part.end)
        for part in body.parts
    ]
    assert again.length == body.length


@given(bodies, positions)
def test_since_a_position_is_exactly_what_a_reader_there_lacks(body: Body, position: int) -> None:
    reader = Body(between(body, 0, position))

    missing = body.since(position)

    assert "".join(delta.text for delta in missing) == body.content[position:]
    for delta in missing:
        assert reader.append(delta) == delta
    assert same(reader, body)


@given(bodies, positions)
def test_since_gives_one_delta_a_part_and_none_spans_two(body: Body, position: int) -> None:
    missing = body.since(position)

    assert [delta.part for delta in missing] == [
        index for index, part in enumerate(body.parts) if part.end > position
    ]
    for delta in missing:
        part = body.parts[delta.part]
        assert part.start <= delta.start < delta.end == part.end
        assert (delta.kind, delta.meta) == (part.kind, part.meta)
    assert all(one.end == other.start for one, other in pairwise(missing))


@given(bodies, positions, positions)
def test_since_a_position_up_to_an_end_is_the_beginning_of_that(
    body: Body, position: int, more: int
) -> None:
    reader = Body(between(body, 0, position))

    some = body.since(position, position + more)

    for delta in some:
        assert reader.append(delta) == delta
    assert reader.length == min(position + more, body.length)
    assert same(Body([*reader.since(0), *body.since(reader.length)]), body)


@pytest.mark.parametrize("position", [-1, -1000])
def test_since_a_position_before_the_beginning_is_the_whole_body(position: int) -> None:
    body = Body([Delta(0, 0, "text", "abc")])

    assert body.since(position) == body.since(0)


@pytest.mark.parametrize("position", [3, 4, 1 << 70])
def test_since_the_end_or_beyond_is_nothing(position: int) -> None:
    body = Body([Delta(0, 0, "text", "abc")])

    assert body.since(position) == []


# --- the reader's side ----------------------------------------------------------------------------


@thorough(300)
@given(bodies, st.lists(spans, max_size=20))
def test_a_body_stays_a_prefix_whatever_arrives_and_gaps_are_raised(
    writer: Body, arriving: list[tuple[int, int]]
) -> None:
    reader = Body()

    for delta in (delta for span in arriving for delta in between(writer, *span)):
        before = reader.length
        if delta.start > before:
            with pytest.raises(Gap):
                reader.append(delta)
            assert reader.length == before
        else:
            new = reader.append(delta)
            assert new == (delta.after(before) if delta.end > before else None)
            assert reader.length == max(before, delta.end)

    assert reader.since(0) == between(writer, 0, reader.length)


@given(bodies, st.lists(spans, max_size=10), positions)
def test_from_wherever_a_reader_stands_the_rest_makes_it_equal(
    writer: Body, arriving: list[tuple[int, int]], position: int
) -> None:
    reader = Body(between(writer, 0, position))
    for span in arriving:
        extend(reader, between(writer, *span))

    assert extend(reader, writer.since(reader.length))

    assert same(reader, writer)


@given(bodies, st.lists(positions, max_size=8))
def test_deltas_may_be_merged_and_cut_and_overlap_on_the_way(writer: Body, cuts: list[int]) -> None:
    reader, claim = Body(), uuid.uuid4()
    before = 0

    for place in [*sorted(cuts), writer.length]:
        overlapping = max(0, before - 3)
        deltas = between(writer, overlapping, place)
        if deltas:
            assert decode(encode(claim, deltas)) == Payload(claim, deltas)
        assert extend(reader, deltas)
        before = place

    assert same(reader, writer)


@given(bodies.filter(lambda body: body.length >= 2), st.data())
def test_extend_returns_false_for_every_gap(writer: Body, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, writer.length - 2))
    end = data.draw(st.integers(start + 1, writer.length - 1))
    position = data.draw(st.integers(0, start))
    reader = Body(between(writer, 0, position))
    arriving = [*between(writer, position, start), *between(writer, end, writer.length)]

    fits = extend(reader, arriving)

    assert not fits
    assert reader.since(0) == between(writer, 0, start)


@pytest.mark.parametrize(
    "delta",
    [
        pytest.param(Delta(2, 2, "text", "x"), id="a part is skipped"),
        pytest.param(Delta(2, 0, "reasoning", "x"), id="another kind in the same part"),
        pytest.param(Delta(2, -1, "text", "x"), id="a part before the first"),
        pytest.param(Delta(1, 2, "text", "xyz"), id="overlapping, and a part is skipped"),
    ],
)
def test_an_impossible_part_is_refused_and_nothing_changes(delta: Delta) -> None:
    body = Body([Delta(0, 0, "text", "ab")])

    with pytest.raises(Misplaced):
        body.append(delta)

    assert body.since(0) == [Delta(0, 0, "text", "ab")]
    assert not extend(body, [delta])


def test_the_first_delta_of_a_body_is_of_part_zero() -> None:
    with pytest.raises(Misplaced):
        Body([Delta(0, 1, "text", "a")])


# --- a part that is open and empty ----------------------------------------------------------------


@given(growth)
def test_a_body_with_an_open_part_is_carried_whole(calls: list[Written | Opened]) -> None:
    body, claim = grown(calls), uuid.uuid4()

    deltas = body.since(0)

    assert same(Body(deltas), body)
    assert [(part.kind, part.meta, part.text) for part in Body(deltas).parts] == [
        (part.kind, part.meta, part.text) for part in body.parts
    ]
    if deltas:
        assert decode(encode(claim, deltas)) == Payload(claim, deltas)


@given(growth)
def test_an_empty_part_takes_no_position_and_is_in_no_text(calls: list[Written | Opened]) -> None:
    body = grown(calls)
    stored = Body(delta for delta in body.since(0) if delta.text)

    assert (stored.length, stored.content, stored.text) == (body.length, body.content, body.text)
    assert stored.since(0) == [delta for delta in body.since(0) if delta.text]
    assert [part.text for part in body.parts[len(stored.parts) :]] in ([], [""])


@thorough(300)
@given(growth, st.data())
def test_openings_may_be_lost_repeated_and_late(
    calls: list[Written | Opened], data: st.DataObject
) -> None:
    writer, sent = Body(), 0
    published: list[list[Delta]] = []
    for call in calls:
        grow(writer, call)
        published.append(writer.since(sent))
        sent = writer.length
    arriving = data.draw(st.lists(st.sampled_from(published), max_size=20)) if published else []
    reader = Body()

    for deltas in arriving:
        extend(reader, deltas)

        assert writer.content.startswith(reader.content)
        for mine, writers in zip(reader.parts, writer.parts, strict=False):
            assert (mine.kind, mine.start, mine.meta) == (
                writers.kind,
                writers.start,
                writers.meta,
            )
    assert extend(reader, writer.since(reader.length))
    assert same(reader, writer)


def test_a_part_must_have_text_before_the_next_one_begins() -> None:
    body = Body()
    body.open("tool_call", {"id": "1"})

    with pytest.raises(Misplaced):
        body.open("tool_call", {"id": "2"})
    with pytest.raises(Misplaced):
        body.write("text", "a")
    with pytest.raises(Misplaced):
        body.append(Delta(0, 1, "text", "a"))

    body.write("tool_call", "{}")
    body.write("text", "a")
    assert [(part.kind, part.text) for part in body.parts] == [("tool_call", "{}"), ("text", "a")]


def test_an_empty_delta_without_meta_opens_nothing() -> None:
    body = Body()

    assert body.append(Delta(0, 0, "text", "")) is None
    assert not body.parts
    assert not body.since(0)
    with pytest.raises(Misplaced):
        body.open("tool_call", {})


# --- the cost -------------------------------------------------------------------------------------


class Counted(str):
    """A string that counts the characters copied by joining it to another."""

    __slots__ = ()
    copied = 0
    most = 0

    def __add__(self, other: str) -> "Counted":
        Counted.copied += len(self) + len(other)
        assert Counted.copied <= Counted.most, "growing is not linear"
        return Counted(super().__add__(other))


@given(st.lists(texts.filter(bool), min_size=1, max_size=60), positions)
def test_a_part_is_exact_and_has_few_chunks(pieces: list[str], position: int) -> None:
    part = Part("text", 7, end=7)

    for piece in pieces:
        part.grow(piece)

    whole = "".join(pieces)
    assert part.text == whole
    assert part.between(7 + position, part.end) == whole[position:]
    assert [part.between(7 + position, 7 + end) for end in range(len(whole) + 1)] == [
        whole[position:end] for end in range(len(whole) + 1)
    ]
    assert len(part._chunks) <= math.log2(len(whole)) + 1
    assert part._starts == [7 + len("".join(part._chunks[:n])) for n in range(len(part._chunks))]


def test_a_million_characters_in_small_deltas_are_copied_a_few_times_each() -> None:
    characters, piece = 1_000_000, Counted("12345")
    Counted.copied, Counted.most = 0, 20 * characters
    body = Body()
    chunks = 0

    for _ in range(characters // len(piece)):
        body.write("text", piece)
        chunks = max(chunks, len(body.parts[0]._chunks))

    assert body.length == characters
    assert chunks <= characters / CHUNK + math.log2(CHUNK)
    assert max(map(len, body.parts[0]._chunks)) <= 4 * CHUNK  # nothing large is copied at once


def test_a_reader_at_the_end_of_a_long_body_is_given_little() -> None:
    body = Body([Delta(0, 0, "text", "x" * 1_000_000)])
    body.write("text", "12345")

    [news] = body.since(1_000_000)

    assert news == Delta(1_000_000, 0, "text", "12345")
    assert body.parts[0]._chunks[-1] == "12345"  # not cut out of a copy of everything


# --- a writer, a log that loses, and readers that join when they like -----------------------------


class Reader:
    """As a hub follows: subscribed first, then the snapshot, the log, and what arrived meanwhile.

    `inbox` is what the channel brought and the reader has not applied yet.
    """

    def __init__(self) -> None:
        self.body = Body()
        self.inbox: list[list[Delta]] = []
        self.missing = True

    def apply(self, deltas: list[Delta]) -> None:
        self.missing = not extend(self.body, deltas) or self.missing


class Following(RuleBasedStateMachine):
    """The path of a token in memory: nothing false is sent, but much of it gets lost."""

    readers = Bundle("readers")

    @initialize()
    def begin(self) -> None:
        self.writer = Body()
        self.published = self.saved = self.saved_before = 0
        self.log: list[list[Delta]] = []
        self.all_readers: list[Reader] = []

    @rule(call=written)
    def write(self, call: Written) -> None:
        self.writer.write(call.kind, call.text, call.meta, fresh=call.fresh)

    @rule()
    def publish(self) -> None:
        top = self.log[-1][-1].end if self.log else 0
        if top < self.published:  # the log was emptied: begin again after the last save
            self.published = self.saved
        deltas = self.writer.since(self.published)
        if not deltas:
            return
        self.log = [entry for entry in self.log if entry[-1].end >= self.saved_before]
        self.log.append(deltas)
        for reader in self.all_readers:
            reader.inbox.append(deltas)
        self.published = self.writer.length

    @rule()
    def save(self) -> None:
        self.saved_before, self.saved = self.saved, self.writer.length

    @rule()
    def lose_the_log(self) -> None:
        self.log = []

    @rule(target=readers)
    def subscribe(self) -> Reader:
        reader = Reader()
        self.all_readers.append(reader)
        return reader

    @rule(reader=readers)
    def read(self, reader: Reader) -> None:
        """The row with its pieces, then the log, then what arrived meanwhile."""
        reader.missing = False
        reader.apply(between(self.writer, reader.body.length, self.saved))
        reader.apply([delta for entry in self.log for delta in entry])
        arrived, reader.inbox = reader.inbox, []
        reader.apply([delta for deltas in arrived for delta in deltas])

    @rule(reader=readers)
    def receive(self, reader: Reader) -> None:
        if reader.inbox:
            reader.apply(reader.inbox.pop(0))

    @rule(reader=readers, index=st.integers(0, 3))
    def lose_a_message(self, reader: Reader, index: int) -> None:
        del reader.inbox[index : index + 1]

    @rule(reader=readers, index=st.integers(0, 3))
    def repeat_a_message(self, reader: Reader, index: int) -> None:
        reader.inbox.extend(reader.inbox[index : index + 1])

    @rule(reader=readers, target=readers)
    def come_back(self, reader: Reader) -> Reader:
        """The tab was closed; its successor resumes at its position."""
        again = Reader()
        again.body = Body(reader.body.since(0))
        self.all_readers.append(again)
        return again

    @invariant()
    def what_is_shown_is_what_was_written(self) -> None:
        for reader in self.all_readers:
            shown = reader.body.length
            assert reader.body.since(0) == between(self.writer, 0, shown)

    def teardown(self) -> None:
        """In the end every reader has everything, whatever was lost."""
        if not hasattr(self, "writer"):
            return
        self.save()
        for reader in self.all_readers:
            self.read(reader)
            assert same(reader.body, self.writer)


TestFollowing = Following.TestCase
TestFollowing.settings = thorough(60)
