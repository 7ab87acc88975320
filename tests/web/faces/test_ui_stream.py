"""`/api/chat` over HTTP: places, cuts, names and refusals; the clients are in tests/end_to_end."""

import json
import re
from typing import Any

import httpx2
import pytest

from local.programs import Web, Worker
from scripted import done, finish, hold, say, script
from shared.body import Body
from shared.numbering import NOTHING
from shared.parts import PartKind
from tests.client import Client, new_id
from tests.credentials import bearer, token
from tests.rig import Rig
from tests.stories import NEVER
from tests.web.dialects.test_ui_chunks import message_of
from web.faces.ui_stream import UIFace
from web.following.face import Then
from web.following.message_topic import MessageTopic


def body_of(*parts: tuple[str, str]) -> Body:
    body = Body()
    for kind, text in parts:
        body.write(kind, text, {"id": "c1", "name": "add"}, fresh=True)
    return body


def topic(body: Body, *, ended: bool) -> MessageTopic:
    message = message_of(body)
    found = MessageTopic(message.id, message.user_id)
    found.body = body
    found.end = message if ended else None
    return found


def events(frames: bytes) -> list[tuple[str, str]]:
    """(id, type) of each event."""
    found = []
    for event in frames.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        data = fields.get("data", "{}")
        kind = data if data == "[DONE]" else json.loads(data).get("type", "")
        found.append((fields.get("id", ""), kind))
    return found


ANSWER = (
    (PartKind.REASONING, "Hm."),
    (PartKind.TEXT, "Hello"),
    (PartKind.TOOL_CALL, '{"a":1}'),
)


def test_every_place_gets_exactly_the_rest() -> None:
    source = topic(body_of(*ANSWER), ended=True)
    face = UIFace()
    whole, _, then = face.write(source, NOTHING)
    assert then is Then.ENDED

    found = events(whole)
    assert [kind for _, kind in found] == [
        "start", "start-step", "reasoning-start", "reasoning-delta", "reasoning-end",
        "text-start", "text-delta", "text-end",
        "tool-input-start", "tool-input-delta", "tool-input-available",
        "finish-step", "finish", "[DONE]",
    ]  # fmt: skip
    numbers = [int(number) for number, _ in found[:-1]]
    assert numbers == sorted(set(numbers))
    for place, number in enumerate(numbers, 1):
        assert events(face.write(source, number)[0]) == found[place:]


def test_a_workflow_builds_its_step_anew() -> None:
    source = topic(body_of(*ANSWER[:2]), ended=False)

    frames, place, then = UIFace(rebuilds=True).write(source, NOTHING)

    kinds = [kind for _, kind in events(frames)]
    assert kinds[:2] == ["reset-step", "reasoning-start"]
    assert kinds[-1] == "text-delta"
    assert then is Then.WAIT
    assert UIFace(rebuilds=True).write(source, place) == (b"", place, Then.WAIT)


def test_who_has_only_some_of_the_earlier_steps_has_seen_nothing() -> None:
    face = UIFace(named='a "name"', before=b'data: {"type":"start-step"}\n\n')

    frames, _, _ = face.write(topic(Body(), ended=False), NOTHING)

    assert events(frames) == [("", "start"), ("", "start-step"), ("0", ""), ("1", "start-step")]
    assert json.loads(frames.split(b"\n")[0][6:])["messageId"] == 'a "name"'


def test_a_cut_tears_unless_the_client_takes_that_for_an_error() -> None:
    assert UIFace().cut(100) is None
    assert UIFace(ends_cleanly=True).cut(100) == b""


# --- over HTTP ------------------------------------------------------------------------------------


def user(text: str) -> dict[str, Any]:
    return {"id": new_id(), "role": "user", "parts": [{"type": "text", "text": text}]}


def send(client: Client, chat: str, *messages: dict[str, Any], **more: Any) -> httpx2.Response:
    sent = {"id": chat, "messages": messages, "trigger": "submit-message", **more}
    return client.http.post("/api/chat", json=sent)


def words(answer: httpx2.Response) -> str:
    """The text of an answer's events."""
    deltas = re.findall(r'"text-delta".*?"delta":("(?:[^"\\]|\\.)*")', answer.text)
    return "".join(map(json.loads, deltas))


def test_the_response_names_its_answer_and_its_conversation(client: Client, worker: Worker) -> None:
    answer = send(client, new_id(), user(script(say("Hello"), finish(), done(), tag=new_id())))

    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    message = client.message(answer.headers["Outlive-Message-Id"])
    assert message["conversation_id"] == answer.headers["Outlive-Conversation-Id"]
    assert words(answer) == message["text"] == "Hello"


def test_the_same_click_is_one_answer_and_another_one_is_another(
    client: Client, rig: Rig, worker: Worker
) -> None:
    chat, question = new_id(), user(script(say("Hello"), finish(), done(), tag=new_id()))

    first, again = (send(client, chat, question) for _ in range(2))
    other = send(client, chat, {**question, "id": new_id()})
    more = send(client, chat, question, trigger="regenerate-message")

    ids = [one.headers["Outlive-Message-Id"] for one in (first, again, other, more)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert again.text == first.text
    assert len({client.message(one)["parent_id"] for one in ids}) == 1


def test_a_chat_may_be_named_by_its_conversation(client: Client, worker: Worker) -> None:
    place = client.conversation(system="Be kind.")
    asked = client.ask(script(say("Hello"), finish(), done(), tag=new_id()), place)
    client.ended(asked)

    loaded = client.http.get(f"/api/chat/{place}").json()

    assert [one["id"] for one in loaded["messages"]][1] == asked
    replay = client.http.get(f"/api/chat/{place}/stream")
    assert replay.headers["Outlive-Message-Id"] == asked
    assert words(replay) == "Hello"


def test_an_answer_that_ended_long_ago_is_not_resumed(
    client: Client, rig: Rig, worker: Worker
) -> None:
    chat = new_id()
    answer = send(client, chat, user(script(say("Hello"), finish(), done(), tag=new_id())))
    assert client.http.get(f"/api/chat/{chat}/stream").status_code == 200
    place = answer.headers["Outlive-Conversation-Id"]
    rig.rows(
        "WITH old AS (SELECT set_config('session_replication_role', 'replica', true))"
        " UPDATE messages SET ended_at = ended_at - interval '25 hours' FROM old"
        " WHERE conversation_id = :c RETURNING id",
        c=place,
    )

    assert client.http.get(f"/api/chat/{chat}/stream").status_code == 204


def test_a_late_stop_hits_no_newer_answer(client: Client, worker: Worker) -> None:
    chat = new_id()
    first = user(script(say("Hello"), finish(), done(), tag=new_id()))
    before = send(client, chat, first).headers["Outlive-Message-Id"]
    said = {"id": "x", "role": "assistant", "parts": [{"type": "text", "text": "Hello"}]}
    sent = {"id": chat, "messages": [first, said, user(script(say("So"), hold(NEVER)))]}
    with client.http.stream("POST", "/api/chat", json=sent) as answer:
        open_one = answer.headers["Outlive-Message-Id"]
        client.shown(open_one)
        late = client.http.post(f"/api/chat/{chat}/stop", json={"messageId": before})
        assert (late.status_code, late.json()["status"]) == (202, "DONE")
        assert client.message(open_one)["status"] == "STREAMING"
        client.http.post(f"/api/chat/{chat}/stop", json={"messageId": open_one})
        assert client.ended(open_one)["status"] == "CANCELLED"


def test_chats_of_the_same_name_are_each_user_s_own(required_web: Web, worker: Worker) -> None:
    question = user(script(say("Hello"), finish(), done(), tag=new_id()))
    with Client(required_web.url) as client:
        for name in (new_id(), new_id()):
            client.http.headers.update(bearer(token(name)))
            assert words(send(client, "mine", question)) == "Hello"
            assert len(client.http.get("/api/chat/mine").json()["messages"]) == 2


def test_another_site_s_page_can_ask_nothing_though_its_request_is_a_simple_one(
    client: Client,
) -> None:
    """WorkflowChatTransport sends text/plain, which a browser sends for any page, with cookies."""
    sent = json.dumps({"id": new_id(), "messages": [user("Why?")]})
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
    ):
        answer = client.http.post(
            "/api/chat", content=sent, headers={"Content-Type": "text/plain", **headers}
        )
        assert (answer.status_code, answer.headers["Outlive-Error"]) == (403, "cross_site")


@pytest.mark.parametrize(
    ("sent", "status", "code", "sentence"),
    [
        ({"n": 2}, 422, "invalid", "n: This is not passed on"),
        ({"what": 1}, 422, "invalid", "what: Extra inputs are not permitted"),
        ({}, 422, "invalid", "Send either messages or message."),
        ({"message": user("Why?")}, 422, "invalid", "A message alone needs the id of its chat."),
        ({"id": "x", "messages": []}, 422, "invalid", "messages: "),
        ({"id": "x", "messages": [user("")]}, 422, "invalid", "messages[0].parts: the question"),
    ],
)
def test_a_refusal_is_a_sentence_with_its_code(
    client: Client, sent: dict[str, Any], status: int, code: str, sentence: str
) -> None:
    answer = client.http.post("/api/chat", json=sent)

    assert (answer.status_code, answer.headers["Outlive-Error"]) == (status, code)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith(sentence)


def test_a_place_that_is_none_is_refused(client: Client, worker: Worker) -> None:
    answer = send(client, new_id(), user(script(say("Hello"), finish(), done(), tag=new_id())))
    message = answer.headers["Outlive-Message-Id"]

    for query in ("message=x", f"message={message}&after=x", f"message={new_id()}"):
        refused = client.http.get(f"/api/chat/x/stream?{query}")
        assert refused.status_code in (404, 422)
        assert refused.headers["Outlive-Error"]
