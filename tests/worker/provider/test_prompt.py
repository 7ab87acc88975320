"""The prompt: the path from the root of a conversation to the question."""

import uuid
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import media
from shared.body import Body, Delta
from shared.media import StoredFile, file_of
from shared.parts import PartKind
from shared.tool_calls import ToolResult, write_result
from worker.provider import prompt

PLENTY = 1_000_000


def body_of(text: str, kind: str = "text") -> Body:
    return Body([Delta(0, 0, kind, text)])


def user(text: str) -> tuple[str, Body]:
    return "user", body_of(text)


def assistant(text: str) -> tuple[str, Body]:
    return "assistant", body_of(text)


def contents(turns: list[prompt.Turn]) -> list[str]:
    return [turn["content"] for turn in turns]


def test_the_system_text_is_first_and_the_question_last() -> None:
    turns = prompt.build("Be brief.", [user("1"), assistant("2"), user("3")], PLENTY)

    assert turns == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "3"},
    ]


def test_an_empty_system_text_adds_no_turn() -> None:
    assert prompt.build(None, [user("1")], PLENTY) == prompt.build("", [user("1")], PLENTY)
    assert contents(prompt.build(None, [user("1")], PLENTY)) == ["1"]


def test_only_text_parts_are_sent() -> None:
    answer = Body()
    answer.write("reasoning", "Hm.")
    answer.write("text", "One moment. ")
    answer.write("tool_call", "{}", {"id": "1"})
    answer.write("text", "Yes.")

    turns = prompt.build(None, [user("?"), ("assistant", answer), user("!")], PLENTY)

    assert contents(turns) == ["?", "One moment. Yes.", "!"]


def test_an_answer_without_text_is_left_out_and_a_partial_one_kept() -> None:
    path = [user("1"), ("assistant", Body()), user("2"), assistant("hal"), user("3")]
    path[1:1] = [("assistant", body_of("only thought", "reasoning"))]

    assert contents(prompt.build(None, path, PLENTY)) == ["1\n\n2", "hal", "3"]


def test_the_oldest_turns_are_dropped_over_the_budget() -> None:
    path = [user("aaaa"), assistant("bbbb"), user("cccc"), assistant("dddd"), user("eeee")]

    assert contents(prompt.build("system", path, 12)) == ["system", "cccc", "dddd", "eeee"]
    assert contents(prompt.build(None, path, 20)) == ["aaaa", "bbbb", "cccc", "dddd", "eeee"]
    assert contents(prompt.build(None, path, 19)) == ["cccc", "dddd", "eeee"]


def test_an_answer_whose_question_was_dropped_is_dropped_too() -> None:
    path = [user("aaaa"), assistant("bb"), user("cc")]

    assert contents(prompt.build(None, path, 4)) == ["cc"]


def test_the_question_is_sent_whatever_its_length() -> None:
    assert contents(prompt.build(None, [user("a"), assistant("b"), user("c" * 99)], 10)) == [
        "c" * 99
    ]


def test_the_budget_counts_code_points() -> None:
    path = [user("😀😀"), assistant("é"), user("😀")]

    assert contents(prompt.build(None, path, 4)) == ["😀😀", "é", "😀"]
    assert contents(prompt.build(None, path, 3)) == ["😀"]


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text("ab", max_size=5))),
    st.text("q", min_size=1, max_size=5),
    st.integers(1, 30),
)
def test_the_prompt_is_a_suffix_of_the_path_within_the_budget(
    talk: list[tuple[str, str]], question: str, budget: int
) -> None:
    path = [(role, body_of(text) if text else Body()) for role, text in talk]

    turns = prompt.build(None, [*path, user(question)], budget)

    spoken = [*((role, text) for role, text in talk if text), ("user", question)]
    suffixes = [
        [
            {"role": role, "content": "\n\n".join(text for _, text in run)}
            for role, run in groupby(spoken[start:], key=lambda one: one[0])
        ]
        for start in range(len(spoken))
    ]
    assert turns in suffixes
    assert all(one["role"] != other["role"] for one, other in pairwise(turns))
    assert turns[-1]["content"].endswith(question)
    assert turns[-1]["content"] == question or sum(map(len, contents(turns))) <= budget
    assert turns[0]["role"] == "user"


def test_a_larger_budget_never_sends_less() -> None:
    path = [user("aaa"), assistant("bb"), user("c"), assistant("dddd"), user("e")]

    lengths = [len(prompt.build(None, path, budget)) for budget in range(1, 20)]

    assert all(less <= more for less, more in pairwise(lengths))


# --- strict templates -----------------------------------------------------------------------------


def test_questions_after_failed_answers_are_joined_to_one_turn() -> None:
    path = [user("1"), ("assistant", Body()), user("2"), ("assistant", Body()), user("3")]

    assert prompt.build("Be brief.", path, PLENTY) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1\n\n2\n\n3"},
    ]


def test_the_separator_of_joined_turns_counts() -> None:
    path = [user("aa"), user("bb")]

    assert contents(prompt.build(None, path, 6)) == ["aa\n\nbb"]
    assert contents(prompt.build(None, path, 5)) == ["bb"]


def test_without_system_puts_the_text_into_the_first_question() -> None:
    path = [user("1"), assistant("2"), user("3")]
    turns = prompt.build("Be brief.", path, PLENTY)

    assert prompt.has_system(turns)
    assert prompt.without_system(turns) == prompt.build(None, [user("Be brief.\n\n1"), *path[1:]],
                                                        PLENTY)  # fmt: skip
    assert prompt.without_system(turns[1:]) == turns[1:]
    assert not prompt.has_system([])


def test_without_system_makes_a_lone_system_text_a_question() -> None:
    assert prompt.without_system([{"role": "system", "content": "Go."}]) == [
        {"role": "user", "content": "Go."}
    ]


# --- tools ----------------------------------------------------------------------------------------


def calling(text: str, *ids: str) -> tuple[str, Body]:
    body = body_of(text) if text else Body()
    for call in ids:
        body.write("tool_call", f'{{"of":"{call}"}}', {"id": call, "name": "f"}, fresh=True)
    return "assistant", body


def results(*ids: str, text: str = "") -> tuple[str, Body]:
    body = Body()
    for call in ids:
        write_result(body, ToolResult(call, f"result of {call}"))
    body.write("text", text, fresh=True)
    return "user", body


def call_turn(call: str) -> prompt.Turn:
    function = {"name": "f", "arguments": f'{{"of":"{call}"}}'}
    return {"id": call, "type": "function", "function": function}


def result_turn(call: str) -> prompt.Turn:
    return {"role": "tool", "tool_call_id": call, "content": f"result of {call}"}


def test_results_follow_the_answer_with_their_calls() -> None:
    path = [user("?"), calling("Let me see.", "a", "b"), results("a", "b", text="Go on.")]

    assert prompt.build(None, path, PLENTY) == [
        {"role": "user", "content": "?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [call_turn("a"), call_turn("b")],
        },
        result_turn("a"),
        result_turn("b"),
        {"role": "user", "content": "Go on."},
    ]


def test_calls_without_text_have_no_content_and_steps_follow_one_another() -> None:
    path = [user("?"), calling("", "a"), results("a"), calling("", "b"), results("b")]

    assert prompt.build("S", path, PLENTY) == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": [call_turn("a")]},
        result_turn("a"),
        {"role": "assistant", "content": None, "tool_calls": [call_turn("b")]},
        result_turn("b"),
    ]


def test_calls_without_results_are_left_out() -> None:
    path = [user("1"), calling("", "a"), user("2"), calling("Hm.", "b"), user("3")]

    assert prompt.build(None, path, PLENTY) == [
        {"role": "user", "content": "1\n\n2"},
        {"role": "assistant", "content": "Hm."},
        {"role": "user", "content": "3"},
    ]


def test_an_empty_result_is_sent_as_empty() -> None:
    body = Body()
    write_result(body, ToolResult("a", ""))

    turns = prompt.build(None, [user("?"), calling("", "a"), ("user", body)], PLENTY)

    assert turns[-1] == {"role": "tool", "tool_call_id": "a", "content": ""}


@pytest.mark.parametrize("budget", range(1, 140))
def test_no_budget_separates_a_result_from_its_call(budget: int) -> None:
    path = [
        user("first"), assistant("one"), user("second"), calling("", "a"), results("a"),
        calling("mhm", "b", "c"), results("b", "c"), assistant("done"), user("third"),
        calling("", "d"), results("d"),
    ]  # fmt: skip

    turns = prompt.build(None, path, budget)

    wanted: list[str] = []
    for turn in turns:
        if turn["role"] == "tool":
            assert turn["tool_call_id"] == wanted.pop(0)
        else:
            assert not wanted
            wanted = [call["id"] for call in turn.get("tool_calls", ())]
    assert not wanted
    assert turns[-2:] == [
        {"role": "assistant", "content": None, "tool_calls": [call_turn("d")]}, result_turn("d"),
    ]  # fmt: skip
    assert turns[0]["role"] == "user" or len(turns) == 2


def test_without_system_keeps_calls_and_results() -> None:
    path = [user("?"), calling("", "a"), results("a")]

    turns = prompt.without_system(prompt.build("Be brief.", path, PLENTY))

    assert turns[0] == {"role": "user", "content": "Be brief.\n\n?"}
    assert list(turns[1:]) == prompt.build(None, path, PLENTY)[1:]


# --- media ----------------------------------------------------------------------------------------

ME = uuid.uuid4()
PNG = file_of(ME, "image/png", b"\x89PNG")
WAV = file_of(ME, "audio/wav", b"RIFF")
PDF = file_of(ME, "application/pdf", b"%PDF")
FILES = {file.id: file for file in (PNG, WAV, PDF)}


def showing(*files: StoredFile, text: str = "") -> tuple[str, Body]:
    body = Body()
    for file in files:
        media.write_file(body, PartKind.IMAGE, file)
    body.write("text", text, fresh=True)
    return "user", body


def test_parts_of_a_question_are_sent_as_they_came() -> None:
    body = Body()
    body.write("text", "These: ", fresh=True)
    media.write_file(body, PartKind.IMAGE, PNG, detail="low")
    media.write_address(body, PartKind.IMAGE, "https://example.com/a.png")
    media.write_file(body, PartKind.AUDIO, WAV, format="wav")
    media.write_address(body, PartKind.FILE, "file-7")
    media.write_file(body, PartKind.FILE, PDF, filename="a.pdf")
    body.write("text", "What?", fresh=True)

    assert prompt.file_ids([("user", body)], PLENTY) == set(FILES)
    assert prompt.build(None, [("user", body)], PLENTY, FILES) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "These: "},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,iVBORw==", "detail": "low"},
                },
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                {"type": "file", "file": {"file_id": "file-7"}},
                {
                    "type": "file",
                    "file": {
                        "filename": "a.pdf",
                        "file_data": "data:application/pdf;base64,JVBERg==",
                    },
                },
                {"type": "text", "text": "What?"},
            ],
        }
    ]


def test_a_question_of_parts_is_joined_with_its_neighbour() -> None:
    path = [user("1"), ("assistant", Body()), showing(PNG, text="2")]

    [turn] = prompt.build(None, path, PLENTY, FILES)

    assert [part["type"] for part in turn["content"]] == ["text", "image_url", "text"]
    assert turn["content"][0] == {"type": "text", "text": "1"}


def test_the_oldest_turns_are_dropped_when_their_files_are_too_large() -> None:
    half = media.FILES_BYTES // 2
    files = [file_of(ME, "image/png", bytes([number]) * half) for number in range(3)]
    path = [part for file in files for part in (showing(file), assistant("ok"))]

    wanted = prompt.file_ids([*path, user("?")], PLENTY)

    assert wanted == {file.id for file in files[1:]}
    [answer_to_large] = prompt.build(
        None, [showing(*files)], PLENTY, {file.id: file for file in files}
    )
    assert len(answer_to_large["content"]) == 3
