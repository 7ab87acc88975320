"""The script of a reply, what comes of it, and the bytes it is written in. No server, no clock."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scripted as s
from scripted.answers import HOSTILE, hostile, normalised
from scripted.frames import Frames, cut_up, utf16_units
from scripted.steps import Step

EURO = "€".encode()


def frames(**manner: Any) -> Frames:
    return Frames(s.Script(**manner), number=7, model="m", created=0)


def written(step: Step, **manner: Any) -> list[bytes]:
    return [piece.data for piece in frames(**manner).pieces(step) if piece.data]


def delta_of(frame: bytes) -> Any:
    return json.loads(frame.removeprefix(b"data: "))["choices"][0]["delta"]


# --- the text of a question -----------------------------------------------------------------------


def test_a_script_is_ascii_and_comes_back_as_its_steps() -> None:
    steps = [s.say("a\ud83d\0\u2028😀", rate=9.5), s.hold("gate"), s.raw(b"\xff"), s.cut(at=3)]

    text = s.script(*steps, tag="one", crlf=True, role=False)

    assert text.isascii()
    assert s.parse_script(text) == s.Script(steps=steps, tag="one", crlf=True, role=False)


@pytest.mark.parametrize("text", ["", "How are you?", "{", "[]", "7", '{"script": 1'])
def test_other_text_is_not_a_script(text: str) -> None:
    assert s.parse_script(text) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"script": [{"do": "fly"}]}',
        '{"script": [{}]}',
        '{"script": [{"do": "say"}]}',
        '{"script": [{"do": "pause", "minutes": 3}]}',
        '{"script": 7}',
        '{"script": [], "colour": "red"}',
    ],
)
def test_a_broken_script_is_refused_instead_of_played(text: str) -> None:
    with pytest.raises(ValueError, match="not a script"):
        s.parse_script(text)


# --- what is to be expected -----------------------------------------------------------------------


def test_a_plain_question_has_its_own_answer_with_every_awkward_character() -> None:
    answer = s.expected("How are you?").text

    assert len(answer) == 600
    assert answer == s.expected("How are you?").text != s.expected("And you?").text
    for awkward in ("\u2028", "\u2029", "\n", "e\u0301", "世", "ש", "😀", "\u200d", '"', "\\"):
        assert awkward in answer


def test_the_parts_of_an_answer_are_in_order_and_joined_runs() -> None:
    answer = s.expected(
        s.script(
            s.reasoning("Hm", field="reasoning"),
            s.reasoning("m."),
            s.say("Let me "),
            s.torn("look.", at=30),
            s.tool_call("a", "find", '{"x":1}'),
            s.tool_call("b", "now", index=1),
            s.finish("tool_calls", text=" Well"),
            s.noise(),
            s.done(),
        )
    )

    assert answer.parts == (
        ("reasoning", "Hmm."),
        ("text", "Let me look."),
        ("tool_call", '{"x":1}'),
        ("tool_call", "{}"),
        ("text", " Well"),
    )
    assert (answer.text, answer.reasoning) == ("Let me look. Well", "Hmm.")
    assert answer.body == 'Hmm.Let me look.{"x":1}{} Well'


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (["\ud83d", "\ude00"], "😀"),
        (["\ud83d", "x"], "\ufffdx"),
        (["x\ude00"], "x\ufffd"),
        (["\ud83d"], "\ufffd"),
        (["\ud83d\ud83d\ude00"], "\ufffd😀"),
        (["a\0b"], "a\ufffdb"),
    ],
)
def test_expected_text_is_normalised(said: list[str], read: str) -> None:
    assert s.expected(s.script(*map(s.say, said))).text == read


@pytest.mark.parametrize(
    "ending",
    [s.done, s.end, s.cut, s.malformed, s.half_utf8, s.big_line, s.error_object, s.refuse],
)
def test_nothing_is_expected_after_the_end(ending: Callable[[], Step]) -> None:
    assert s.expected(s.script(s.say("before"), ending(), s.say("after"))).text == "before"


def test_an_answer_is_expected_after_some_refusals_but_not_after_endless_ones() -> None:
    assert s.expected(s.script(s.status(503, times=2), s.say("at last"))).text == "at last"
    assert s.expected(s.script(s.status(503), s.say("never"))).text == ""


def test_generated_text_is_as_long_as_asked_and_differs_by_seed() -> None:
    assert [len(s.generated(n)) for n in (0, 1, 7, 999, 10_000)] == [0, 1, 7, 999, 10_000]
    assert s.generated(100, seed=1) != s.generated(100, seed=2)
    assert s.expected(s.script(s.long(5000, seed=3))).text == s.generated(5000, 3)


# --- bytes ----------------------------------------------------------------------------------------


@given(st.text(), st.integers(1, 9), st.integers(0, 9), st.integers())
def test_cutting_up_loses_nothing(text: str, least: int, more: int, seed: int) -> None:
    pieces = list(cut_up(text, (least, least + more), seed))

    assert "".join(pieces) == text
    assert all(least <= len(piece) <= least + more for piece in pieces[:-1])


@given(st.text())
def test_utf16_units_give_the_same_text(text: str) -> None:
    assert s.expected(s.script(s.say(utf16_units(text)))).text == text.replace("\0", "\ufffd")


@pytest.mark.parametrize(
    "step",
    [s.say("Straße"), s.reasoning("x"), s.tool_call("i", "n"), s.role(), s.finish(), s.empty(2)],
)
def test_a_normal_frame_has_exactly_the_size_of_the_real_ones(step: Step) -> None:
    assert {len(frame) for frame in written(step)} == {s.FRAME_BYTES}
    assert {len(frame) for frame in written(step, crlf=True, event="delta")} == {s.FRAME_BYTES}


def test_text_is_utf8_unless_it_is_asked_or_has_to_be_escaped() -> None:
    assert "é\u2028".encode() in written(s.say("é\u2028"))[0]
    assert rb'"\u00e9\ud83d\ude00"' in written(s.say("é😀", escaped=True))[0]
    assert rb'"\u0000"' in written(s.say("\0"))[0]
    halves = written(s.say("😀", split_pairs=True, chunk=1))
    assert [rb'"\ud83d"' in halves[0], rb'"\ude00"' in halves[1]] == [True, True]


def test_the_options_of_a_script_apply_to_every_frame() -> None:
    [frame] = written(s.say("x"), space=False, crlf=True, event="message", size=0)

    assert frame.startswith(b'event: message\r\ndata:{"id"')
    assert frame.endswith(b"}\r\n\r\n")


def test_pieces_are_due_at_the_rate() -> None:
    pieces = list(frames().pieces(s.say("abcdefghijkl", chunk=5, rate=10)))

    assert [(piece.characters, piece.due) for piece in pieces] == [
        (5, 0.0),
        (5, 0.5),
        (2, 1.0),
        (0, 1.2),
    ]


def test_a_big_line_is_as_big_as_asked_and_good_json() -> None:
    [frame] = written(s.big_line(5000))

    assert len(frame.rstrip(b"\n")) == 5000
    assert set(delta_of(frame)["content"]) == {"x"}


def test_bad_data_cannot_be_parsed() -> None:
    [half] = written(s.half_utf8())
    assert EURO[:2] in half
    assert EURO not in half
    with pytest.raises(json.JSONDecodeError):
        delta_of(written(s.malformed())[0])
    assert written(s.raw(b"\xff\0\n")) == [b"\xff\0\n"]
    assert written(s.error_object("overloaded")) == [b'data: {"error": "overloaded"}\n\n']


def test_a_torn_frame_is_one_good_frame_in_two_writes() -> None:
    first, second = written(s.torn("naïve", at=222))

    assert len(first) == 222
    assert delta_of(first + second) == {"content": "naïve"}


# --- hostile text, and text that varies -----------------------------------------------------------


@given(st.integers(1, 3000), st.integers(0, 10**9), st.sampled_from(["text", "reasoning"]))
def test_hostile_text_is_a_function_of_its_step_and_survives_its_frames(
    characters: int, seed: int, kind: str
) -> None:
    step = s.hostile(characters, kind=kind, chunk=(1, 40), seed=seed)
    field = "content" if kind == "text" else "reasoning_content"

    said = "".join(delta_of(frame)[field] for frame in written(step))

    answer = s.expected(s.script(step))
    assert normalised(said) == answer.body
    assert answer.parts == ((kind, answer.body),)


def test_hostile_text_contains_every_hostile_piece() -> None:
    text = hostile(100_000)

    assert [piece for piece in HOSTILE if piece not in text] == []


def test_a_varying_answer_differs_from_call_to_call_and_another_does_not() -> None:
    varying = s.script(s.hostile(300), s.long(300), s.say("!"), varies=True)
    plain = s.script(s.hostile(300), s.long(300), s.say("!"))

    assert len({s.expected(varying, call).text for call in (1, 2, 3)}) == 3
    assert s.expected(varying) == s.expected(varying, 1) == s.expected(plain, 2)
