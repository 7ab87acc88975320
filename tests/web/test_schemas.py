"""The JSON of the native face: nothing unknown, nothing coerced, all text can be stored."""

import json
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel, ValidationError

from web.questions import CONTENT_CHARS
from web.schemas import AnswerRequest, ConversationChange, NewConversation, Question

Shape = TypeVar("Shape", bound=BaseModel)


def parsed(shape: type[Shape], value: Any) -> Shape:
    """As a route does it."""
    return shape.model_validate(json.loads(json.dumps(value)))


def refused(shape: type[BaseModel], value: Any) -> list[str]:
    with pytest.raises(ValidationError) as error:
        parsed(shape, value)
    return [str(problem["loc"][0]) for problem in error.value.errors()]


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [NewConversation, ConversationChange, AnswerRequest, Question])
def test_unknown_field_is_refused(shape: type[BaseModel]) -> None:
    assert "colour" in refused(shape, {"content": "x", "title": "x", "colour": "red"})


def test_question_needs_content() -> None:
    assert refused(Question, {}) == refused(Question, {"content": ""}) == ["content"]
    assert refused(Question, {"parts": []}) == ["parts"]
    assert refused(Question, {"tool_results": []}) == ["tool_results"]
    assert refused(Question, {"content": None}) == refused(Question, {"content": 7}) == ["content"]


@pytest.mark.failure(32)
def test_question_may_have_a_million_characters_and_no_more() -> None:
    assert len(parsed(Question, {"content": "😀" * CONTENT_CHARS}).content) == CONTENT_CHARS
    assert refused(Question, {"content": "x" * (CONTENT_CHARS + 1)}) == ["content"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("a\x00b", "a\ufffdb"), ("a\ud800", "a\ufffd"), ("😀\u2028\r\n", "😀\u2028\r\n")],
)
def test_every_text_is_normalised(sent: str, kept: str) -> None:
    new = parsed(NewConversation, {"title": sent, "system": sent})
    question = parsed(Question, {"content": sent, "model": sent, "options": {"stop": [sent]}})

    assert (new.title, new.system) == (kept, kept)
    assert (question.content, question.model, question.options.stop) == (kept, kept, [kept])
    assert parsed(ConversationChange, {"title": sent}).title == kept


def test_null_parent_differs_from_no_parent() -> None:
    assert parsed(Question, {"content": "x", "parent_id": None}).names_parent
    assert not parsed(Question, {"content": "x"}).names_parent
    assert refused(Question, {"content": "x", "parent_id": "newest"}) == ["parent_id"]


def test_change_may_remove_a_title_but_not_be_empty() -> None:
    assert parsed(ConversationChange, {"title": None}).title is None
    assert parsed(ConversationChange, {"system": None}).model_fields_set == {"system"}
    with pytest.raises(ValidationError, match="must be there"):
        parsed(ConversationChange, {})
