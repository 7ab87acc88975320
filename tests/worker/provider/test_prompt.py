"""The prompt: the path from the root of a conversation to the question."""

from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared.body import Body, Delta
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
