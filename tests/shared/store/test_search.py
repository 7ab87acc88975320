"""A hit is shown as a reader would see it, and says where it is."""

import pytest

from shared.store.search import plain, position, snippet, words_of


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("## The **cormorant**\n\n- dries *its* wings\n", "The cormorant\n\ndries its wings\n"),
        ("see [the `docs`](https://a.example/x) now", "see the docs now"),
        (
            "| Bird | Wings |\n| --- | :---: |\n| cormorant | wet |",
            " Bird Wings \n\n cormorant wet ",
        ),
        ("```python\nprint(a * b)\n```", "\nprint(a * b)\n"),
        (
            "snake_case stays, 2 * 3 * 4 too, _this_ goes",
            "snake_case stays, 2 * 3 * 4 too, this goes",
        ),
        ("> quoted\n\n***\n\n1. one<br>two \\*three\\*", "quoted\n\n\n\n1. one two *three*"),
        ("![a bird](b.png) ~~no~~ __yes__", "a bird no yes"),
    ],
)
def test_markup_is_left_out(markdown: str, text: str) -> None:
    assert plain(markdown) == text


def shown(text: str, query: str, *, markdown: bool = True) -> str:
    """A snippet with its hits in brackets."""
    pieces = snippet(text, words_of(query), markdown=markdown)
    return "".join(f"[{piece}]" if hit else piece for piece, hit in pieces)


def test_hits_are_marked_in_the_text_that_is_left() -> None:
    assert shown("# Birds\n\nThe **cor**morant, a *bird*.", "cormorant bird").startswith(
        "[Bird]s The"
    )
    assert shown("a" * 900 + "\n- the **heron** and\n" + "b" * 2000, "heron") == (
        "…the [heron] and " + "b" * 115 + "…"
    )


def test_what_is_only_in_the_markup_is_shown_with_it() -> None:
    assert shown("see [this](https://cormorant.example)", "cormorant") == (
        "see [this](https://[cormorant].example)"
    )


def test_a_question_is_shown_as_it_was_typed() -> None:
    assert shown("why **bold**", "bold", markdown=False) == "why **[bold]**"


def test_a_position_counts_all_parts() -> None:
    parts = [("reasoning", 10), ("text", 5), ("tool_call", 7), ("text", 20)]
    assert position("12345 and then the heron", parts, ["heron"]) == 10 + 7 + 19
    assert position("hereandthere" * 2, parts, ["here"]) == 10


def test_the_worst_of_texts_is_fast() -> None:
    for worst in (
        "[" * 1200,
        "*" * 1200,
        "|-" * 600,
        "> " * 600,
        "<a" * 600,
        "![](" * 300,
        "_a" * 600,
    ):
        plain(worst)
