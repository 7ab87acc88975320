"""What `useChat` sends, understood or refused by name, and the same read back as UI messages."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.body import Body
from shared.errors import Invalid
from shared.media import KnownFile
from shared.parts import PartKind
from shared.store.messages import Message
from shared.store.threads import Turn
from shared.tool_calls import calls_of, results_of
from tests.web.dialects.test_ui_chunks import message_of
from web.dialects.ui_messages import ui_messages
from web.dialects.ui_request import Said, UIChat, answer_ids, file_ids, said

USER = uuid.uuid4()
PNG = KnownFile(uuid.uuid4(), "image/png", 4)


def chat(*messages: dict[str, Any], **more: Any) -> UIChat:
    numbered = [{"id": str(number), **message} for number, message in enumerate(messages)]
    return UIChat.model_validate({"id": "a chat", "messages": numbered, **more})


def read(*messages: dict[str, Any], **more: Any) -> Said:
    return said(chat(*messages, **more), USER, {PNG.id: PNG})


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": [text(one) if isinstance(one, str) else one for one in parts]}


def assistant(*parts: Any) -> dict[str, Any]:
    return {**user(*parts), "role": "assistant"}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(call_id: str = "c1", **more: Any) -> dict[str, Any]:
    named = {"type": "tool-add", "toolCallId": call_id, "state": "output-available"}
    return {**named, "input": {"a": 1}, "output": "3", **more}


STEP = {"type": "step-start"}


def shape(turn: Turn) -> tuple[str, list[tuple[str, str]]]:
    return turn.role, [(part.kind, part.text) for part in turn.body.parts]


def test_a_history_is_its_turns() -> None:
    found = read(
        {"role": "system", "parts": [text("Be kind.")]},
        user("Why?", "Really?"),
        assistant(STEP, {"type": "reasoning", "text": "Hm."}, text("So."), {"type": "data-x"}),
        user("And then?"),
        system="First.",
    )

    assert found.system == "First.\n\nBe kind."
    assert [shape(turn) for turn in found.turns] == [
        ("user", [("text", "Why?"), ("text", "Really?")]),
        ("assistant", [("text", "So.")]),
        ("user", [("text", "And then?")]),
    ]


def test_each_step_is_an_answer_and_its_outputs_are_the_question_below() -> None:
    found = read(
        user("Why?"),
        assistant(STEP, text("Look: "), call(), STEP, text("3."), call("c2", output={"b": [1.0]})),
    )

    assert [shape(turn) for turn in found.turns] == [
        ("user", [("text", "Why?")]),
        ("assistant", [("text", "Look: "), ("tool_call", '{"a":1}')]),
        ("user", [("tool_result", "3")]),
        ("assistant", [("text", "3."), ("tool_call", '{"a":1}')]),
        ("user", [("tool_result", '{"b":[1.0]}')]),
    ]
    assert [one.id for one in calls_of(found.turns[1].body)] == ["c1"]
    assert results_of(found.turns[2].body)[0].call_id == "c1"


def test_outputs_and_a_question_below_them_are_one_question() -> None:
    found = read(user("Why?"), assistant(STEP, call(output="")), user("Never mind."))

    assert shape(found.turns[-1]) == ("user", [("tool_result", " "), ("text", "Never mind.")])
    assert results_of(found.turns[-1].body)[0].content == ""


@pytest.mark.parametrize("parts", [[], [STEP]])
def test_an_answer_that_failed_without_a_word_is_a_turn(parts: list[Any]) -> None:
    found = read(user("Why?"), assistant(*parts), user("Again?"))

    assert [shape(turn)[0] for turn in found.turns] == ["user", "assistant", "user"]


def test_a_call_that_was_cut_was_never_made() -> None:
    cut = {"type": "tool-add", "toolCallId": "c1", "state": "input-streaming", "input": {}}

    found = read(user("Why?"), assistant(STEP, text("So"), cut), user("Again?"))

    assert shape(found.turns[1]) == ("assistant", [("text", "So")])


def test_arguments_that_were_no_json_stay_as_they_were() -> None:
    broken = {"state": "output-error", "input": '{"a":', "errorText": "no JSON"}

    found = read(user("Why?"), assistant(STEP, call(**broken)))

    assert calls_of(found.turns[1].body)[0].arguments == '{"a":'
    assert results_of(found.turns[2].body)[0].content == "no JSON"


def test_files_are_kept_with_their_turn_whether_they_are_sent_or_stored() -> None:
    sent = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw=="}
    stored = {**sent, "url": f"/api/files/{PNG.id}"}
    pdf = {
        "type": "file",
        "mediaType": "application/pdf",
        "url": "data:application/pdf;base64,JQ==",
    }
    sound = {"type": "file", "mediaType": "audio/wav", "url": "data:audio/wav;base64,UklG"}
    far = {"type": "file", "mediaType": "image/jpeg", "url": "https://example.org/a.jpg"}

    [turn] = read(user(sent, "What?", stored, pdf, sound, far)).turns

    assert [part.kind for part in turn.body.parts] == [
        "image", "text", "image", "file", "audio", "image",
    ]  # fmt: skip
    assert [one.type for one in turn.files] == [
        "image/png", "image/png", "application/pdf", "audio/wav",
    ]  # fmt: skip
    assert turn.body.parts[3].meta == {
        "filename": "file", "file": str(turn.files[2].id), "type": "application/pdf", "bytes": 1,
    }  # fmt: skip
    assert file_ids(chat(user(sent, stored))) == {PNG.id}


REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "nothing is asked": ([user("Why?"), assistant("So.")], "messages[1].role"),
    "an empty question": ([user("")], "messages[0].parts"),
    "a call without an output": (
        [user("Why?"), assistant(STEP, call(), call("c2", state="input-available"))],
        "messages[1].parts",
    ),
    "late instructions": (
        [user("Why?"), {"role": "system", "parts": [text("x")]}],
        "messages[1].role",
    ),
    "data": ([user({"type": "data-x", "data": 1})], "messages[0].parts[0]"),
    "a part of no type": ([user({})], "messages[0].parts[0]"),
    "a text of no text": ([user({"type": "text"})], "messages[0].parts[0].text"),
    "an approval": (
        [user("Why?"), assistant(STEP, call(state="approval-requested"))],
        "messages[1].parts",
    ),
    "a call of the provider": (
        [user("Why?"), assistant(STEP, call(providerExecuted=True))],
        "messages[1].parts",
    ),
    "a file of an answer": (
        [user("Why?"), assistant({"type": "file"}), user("?")],
        "messages[1].parts",
    ),
    "a file of another type": (
        [user({"type": "file", "mediaType": "video/mp4", "url": "data:video/mp4;base64,AA=="})],
        "messages[0].parts[0]",
    ),
    "a file that is not there": (
        [user({"type": "file", "mediaType": "image/png", "url": f"/api/files/{USER}"})],
        "messages[0].parts[0].url",
    ),
    "no number": ([user("Why?"), assistant(STEP, call(output=float("nan")))], "messages[1].parts"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_passed_on_is_refused_by_name(name: str) -> None:
    messages, param = REFUSED[name]

    with pytest.raises(Invalid) as refused:
        read(*messages)

    assert refused.value.fields["param"] == param
    assert refused.value.message.startswith(f"{param}: ")


def test_either_all_messages_or_the_last_one_are_sent() -> None:
    message = {"id": "1", **user("Why?")}
    for sent in ({}, {"message": message, "messages": [message]}):
        with pytest.raises(Invalid):
            _ = UIChat.model_validate(sent).last
    alone = UIChat.model_validate({"id": "x", "message": message})
    assert [shape(turn) for turn in said(alone, USER, {}).turns] == [("user", [("text", "Why?")])]


def test_a_stopped_answer_is_what_was_written_of_it() -> None:
    """The client saw less: it closed its response when it asked for the stop."""
    stopped = {USER: body_of("So far and")}
    for shown, known in (("So far", "So far and"), ("So what", "So what"), ("", "So far and")):
        answer = {**assistant(*([shown] if shown else [])), "id": str(USER)}
        sent = chat(user("Why?"), answer, user("And?"))
        assert answer_ids(sent) == {USER}
        assert said(sent, USER, {}, stopped).turns[1].body.text == known


def body_of(words: str) -> Body:
    body = Body()
    body.write(PartKind.TEXT, words)
    return body


def test_options_are_passed_on_and_nothing_else() -> None:
    sent = chat(
        user("Why?"), temperature=0.5, model="m", trigger="regenerate-message", messageId="x"
    )

    assert (sent.answers, sent.model, sent.regenerates) == ({"temperature": 0.5}, "m", True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PARTS = st.lists(
    st.builds(text, st.text())
    | st.just(STEP)
    | st.builds(call, st.sampled_from(["c1", "c2", "c3"]), input=JSON, output=JSON)
    | st.builds(call, state=st.sampled_from(["input-available", "input-streaming"]))
    | st.builds(call, state=st.just("output-error"), errorText=st.text(min_size=1))
    | st.dictionaries(st.sampled_from(["type", "text", "url", "state", "input"]), JSON),
    max_size=6,
)
MESSAGES = st.lists(
    st.builds(user, st.text(min_size=1)) | PARTS.map(lambda parts: assistant(*parts)),
    min_size=1,
    max_size=5,
)


@given(MESSAGES, st.text(min_size=1))
def test_any_messages_are_turns_with_a_question_last_or_refused(
    messages: list[dict[str, Any]], question: str
) -> None:
    try:
        found = read(*messages, user(question))
    except Invalid:
        return
    assert found.turns[-1].role == "user"
    assert found.turns[-1].body.length > 0
    for above, turn in zip([None, *found.turns], found.turns, strict=False):
        assert turn.role != "assistant" or above is None or above.role in ("user", "assistant")
        if above is not None and above.role == "user":
            assert turn.role == "assistant" or not results_of(turn.body)
        results = {one.call_id for one in results_of(turn.body)}
        assert results <= {one.id for one in calls_of(above.body)} if above else not results


STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
#: Answers as they are stored: text, and calls with different ids.
STEPS = st.lists(
    st.tuples(STORABLE, st.lists(st.tuples(JSON, JSON), max_size=2)), min_size=1, max_size=3
)


@given(STORABLE, STEPS)
def test_what_is_loaded_and_sent_back_says_the_same(
    question: str, steps: list[tuple[str, list[tuple[Any, Any]]]]
) -> None:
    """A page that loads a chat and goes on stays in its thread: the turns say what is stored."""
    messages = [user(question), assistant()]
    for words, calls in steps:
        messages[1]["parts"] += [STEP, text(words)]
        for number, (given_input, output) in enumerate(calls):
            arguments = given_input if isinstance(given_input, dict) else {"x": given_input}
            name = f"c{len(messages[1]['parts'])}-{number}"
            messages[1]["parts"].append(call(name, input=arguments, output=output))
    messages.append(user("Next"))
    first = read(*messages)

    branch = [message(turn) for turn in first.turns[:-1]]
    loaded = json.loads(json.dumps(ui_messages(branch)))
    if first.turns[-1].body.parts[0].kind == PartKind.TOOL_RESULT:
        return  # of the last step, which are asked with the next question
    again = read(*loaded, user("Next"))

    assert [shape(turn) for turn in again.turns] == [shape(turn) for turn in first.turns]
    assert len(loaded) == 2


def message(turn: Turn) -> Message:
    return message_of(turn.body, role=turn.role)


def test_a_stored_file_is_named_in_the_message_that_refers_to_it() -> None:
    found = {PNG.id: PNG}
    [turn] = said(
        chat(user({"type": "file", "mediaType": "x", "url": f"/api/files/{PNG.id}"})), USER, found
    ).turns

    [shown] = ui_messages([message(turn)])

    assert shown["parts"] == [
        {"type": "file", "mediaType": "image/png", "url": f"/api/files/{PNG.id}"}
    ]
