"""Titles: the question's own words, and which of a model's are better."""

import pytest

from shared.naming import CHARS, by_file, by_model, by_question


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Why is the sky blue?", "Why is the sky blue?"),
        ("  Why \n\t is it? ", "Why is it?"),
        ("Can you help me write an email to my boss?", "Write an email to my boss"),
        ("Please explain tides. I am ten.", "Explain tides"),
        ("hi, how are you?", "How are you?"),
        ("Kannst du mir bitte ein Gedicht schreiben?", "Ein Gedicht schreiben"),
        ("Hello", "Hello"),
        ("Can you", "Can you"),
        ("Please help!", "Please help!"),
        ("fix this: for i in range(10) print(i)", "fix this: for i in range(10) print(i)"),
        ("Dr. Strange is who?", "Dr. Strange is who?"),
        (
            "I have an interview tomorrow. What should I expect, and how do I prepare for it?",
            "I have an interview tomorrow",
        ),
        (
            "Write a SQL query that finds duplicate email addresses in a table",
            "Write a SQL query that finds duplicate email addresses in…",
        ),
        ("x" * 200, "x" * (CHARS - 1) + "…"),
        ("雨の中の電車について教えてください", "雨の中の電車について教えてください"),
        (" \n ", None),
        ("", None),
    ],
)
def test_a_question_names_its_conversation_by_what_it_says(
    question: str, title: str | None
) -> None:
    assert by_question(question) == title


def test_a_file_names_its_conversation_where_the_question_has_no_text() -> None:
    assert by_file("the  notes.md") == "the notes.md"
    assert by_file("x" * 200) == "x" * (CHARS - 1) + "…"
    assert by_file(" ") is None


TRAIN = "Write a poem about a train in the rain"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Train in the Rain", "Train in the Rain"),
        ('"Train in the Rain."', "Train in the Rain"),
        ("**Title:** Trains\n\nBecause of trains.", "Trains"),
        ("# Rainy trains", "Rainy trains"),
        ("<think>Hm. A title.</think>\n\nTrain", "Train"),
        ("Silver windows", "Silver windows"),  # what the answer speaks of
        ("<think>Hm. A title", None),
        ("", None),
        (" \n ", None),
        ("***", None),
        # It runs on.
        ("Train " * 12, None),
        ("Train" * 20, None),
        ("The train goes. The rain falls", None),
        ("The train in the rain and then…", None),
        # It echoes the question, or what was wanted of it.
        (TRAIN, None),
        ("write a poem about a train in rain.", None),
        ("At Most Six Words", None),
        ("At most six words - a train in the rain", None),
        ("No quotes: train in the rain", None),
        # It answers, or says something else.
        ("Here's a poem about a train", None),
        ("Sure, train in the rain", None),
        ("I'm happy to write about a train!", None),
        ("The Greatest Story Ever Told", None),
        ("train = rain", None),
    ],
)
def test_a_models_title_replaces_it_only_if_it_is_better(text: str, title: str | None) -> None:
    assert by_model(text, TRAIN, "The train rolls on. Its windows shine in silver.") == title


def test_titles_without_spaces_and_in_other_scripts_are_compared_too() -> None:
    assert by_model("雨の中の電車", "雨の中の電車の詩を書いて", "") == "雨の中の電車"
    assert by_model("海の上の船", "雨の中の電車の詩を書いて", "") is None
    assert by_model("قطار في المطر", "اكتب قصيدة عن قطار في المطر", "") == "قطار في المطر"
