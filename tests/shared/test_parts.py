"""What each kind of part means, and that an unknown kind is kept."""

import pytest

from shared.body import Body, Delta
from shared.parts import PARTS, UNKNOWN, PartKind, is_text, kinds, traits


def test_every_kind_has_traits_and_its_name_on_the_wire() -> None:
    assert set(PARTS) == set(PartKind)
    assert [f"{kind}" for kind in PartKind] == [
        "text", "reasoning", "tool_call", "tool_result", "image", "audio", "file",
    ]  # fmt: skip


def test_only_text_counts_as_the_messages_text() -> None:
    assert [kind for kind in PartKind if is_text(kind)] == [PartKind.TEXT]
    assert kinds(lambda its: its.searched) == kinds(lambda its: its.titled) == ["text"]


def test_all_but_thoughts_is_sent_to_the_provider() -> None:
    assert set(PartKind) - set(kinds(lambda its: its.in_prompt)) == {PartKind.REASONING}


def test_text_and_reasoning_are_markdown_and_tool_calls_are_not() -> None:
    assert kinds(lambda its: its.markdown) == ["text", "reasoning"]


@pytest.mark.parametrize("kind", ["", "video", "Text"])
def test_a_part_of_an_unknown_kind_is_kept_and_counts_for_nothing(kind: str) -> None:
    body = Body([Delta(0, 0, kind, "abc"), Delta(3, 1, "text", "d")])

    assert traits(kind) == UNKNOWN
    assert not any(UNKNOWN)
    assert (body.content, body.text) == ("abcd", "d")
    assert body.since(0)[0] == Delta(0, 0, kind, "abc")
