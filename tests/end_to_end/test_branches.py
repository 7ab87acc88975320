"""Retry, Edit and Continue make siblings of old messages, which do not change."""

from typing import Any

import httpx2
import pytest

from local.programs import Worker
from scripted import cut, done, finish, hold, say, script, usage
from tests.client import Client, new_id
from tests.rig import Rig
from tests.stories import NEVER

GO_ON = "Please continue exactly where you stopped."
COMPLETE = (say("All of it."), finish(), usage(), done())


def _post(client: Client, path: str, key: str | None = None, **body: Any) -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.http.post(f"/api/messages/{path}", json=body, headers=headers)


def _accepted(answer: httpx2.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    assert answer.status_code == 202, answer.text
    asked = answer.json()
    assert answer.headers["Outlive-Message-Id"] == asked["assistant"]["id"]
    return asked["user"], asked["assistant"]


def _refused(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def _branch(client: Client, conversation: str, leaf: str | None = None) -> list[dict[str, Any]]:
    query = {"leaf": leaf} if leaf else {}
    answer = client.http.get(f"/api/conversations/{conversation}", params=query)
    assert answer.status_code == 200, answer.text
    messages: list[dict[str, Any]] = answer.json()["messages"]
    return messages


def _seen(rig: Rig, question: str, count: int = 1) -> list[list[tuple[str, str]]]:
    """What the model was sent, each time, up to and with the question: (role, text)."""
    records = rig.scripted.wait_requests(count, contains=question)
    return [
        [(turn["role"], turn["content"]) for turn in (record.request or {})["messages"]]
        for record in records
    ]


def _answered(
    client: Client, text: str, conversation: str, **more: Any
) -> tuple[str, dict[str, Any]]:
    """A question that is answered with `text`, and its ended answer."""
    question = script(say(text), finish(), usage(), done(), tag=new_id())
    return question, client.ended(client.ask(question, conversation, **more))


def test_retry_makes_a_sibling_of_the_old_answer(rig: Rig, client: Client, worker: Worker) -> None:
    # given
    place = client.conversation()
    first_question, first = _answered(client, "First.", place)
    question, old = _answered(client, "Second.", place)

    # when
    user, fresh = _accepted(_post(client, f"{old['id']}/retry"))
    new = client.ended(fresh["id"])

    # then: the same question, the same prompt, two answers
    assert user["id"] == old["parent_id"] == new["parent_id"]
    assert (new["status"], new["text"], new["continues_id"]) == ("DONE", "Second.", None)
    assert client.message(old["id"]) == old
    turns = [("user", first_question), ("assistant", "First."), ("user", question)]
    assert _seen(rig, question, 2) == [turns, turns]
    newest, older = _branch(client, place), _branch(client, place, old["id"])
    assert [one["id"] for one in newest] == [
        first["parent_id"], first["id"], user["id"], new["id"],
    ]  # fmt: skip
    assert [one["id"] for one in older] == [*(one["id"] for one in newest[:3]), old["id"]]
    for turn in (newest[3], older[3]):
        assert [one["id"] for one in turn["siblings"]] == [old["id"], new["id"]]


@pytest.mark.parametrize(
    "steps",
    [(say("Some of it"), cut()), (say("Some of it"), hold(NEVER))],
    ids=["after an error", "after Stop"],
)
def test_an_incomplete_answer_can_be_retried_and_continued(
    rig: Rig, client: Client, worker: Worker, steps: tuple[Any, ...]
) -> None:
    place = client.conversation()
    question = script(*steps, tag=new_id())
    answer = client.ask(question, place)
    client.shown(answer, 10)
    client.stop(answer)
    old = client.ended(answer)
    assert old["status"] in ("ERROR", "CANCELLED")

    # when: it is continued; what the model sees is the path, and the wish to go on
    user, fresh = _accepted(_post(client, f"{answer}/continue", model="other"))

    # then
    assert (user["parent_id"], user["text"]) == (answer, GO_ON)
    assert (fresh["parent_id"], fresh["continues_id"]) == (user["id"], answer)
    new = client.ended(fresh["id"])
    assert (new["status"], new["model"]) == ("DONE", "other")
    assert new["text"]
    turns = [("user", question), ("assistant", "Some of it"), ("user", GO_ON)]
    assert turns in _seen(rig, question, 2)
    assert client.message(answer) == old
    assert [one["id"] for one in _branch(client, place)][1:] == [answer, user["id"], new["id"]]

    # and a Retry of the continuation is one, too
    _, again = _accepted(_post(client, f"{new['id']}/retry"))
    assert client.ended(again["id"])["status"] == "DONE"
    assert again["parent_id"] == user["id"]
    assert again["continues_id"] == answer


def test_an_answer_that_ended_with_length_can_be_continued(
    rig: Rig, client: Client, worker: Worker
) -> None:
    answer = client.ask(script(say("Cut off"), finish("length"), done(), tag=new_id()))
    client.ended(answer)

    _, fresh = _accepted(_post(client, f"{answer}/continue"))

    assert fresh["continues_id"] == answer
    assert client.ended(fresh["id"])["status"] == "DONE"


def test_a_complete_answer_cannot_be_continued(client: Client, worker: Worker) -> None:
    _, answer = _answered(client, "All of it.", client.conversation())

    _refused(_post(client, f"{answer['id']}/continue"), 409, "complete")


def test_an_open_answer_can_be_neither_retried_nor_continued_nor_replied_to(
    rig: Rig, client: Client, worker: Worker
) -> None:
    place = client.conversation()
    answer = client.ask(script(say("Still"), hold(NEVER), tag=new_id()), place)
    client.shown(answer)

    for verb in ("retry", "continue"):
        _refused(_post(client, f"{answer}/{verb}"), 409, "answer_open")
    _refused(client.post_question("And now?", place), 409, "answer_open")
    _refused(client.post_question("And now?", place, parent_id=answer), 409, "answer_open")

    client.stop(answer)
    client.ended(answer)


def test_only_existing_answers_can_be_retried_and_continued(client: Client, worker: Worker) -> None:
    _, answer = _answered(client, "All of it.", client.conversation())

    for verb in ("retry", "continue"):
        _refused(_post(client, f"{answer['parent_id']}/{verb}"), 422, "not_an_answer")
        _refused(_post(client, f"{new_id()}/{verb}"), 404, "not_found")


def test_edit_makes_a_sibling_of_the_old_question(rig: Rig, client: Client, worker: Worker) -> None:
    # given: two turns
    place = client.conversation(system="Be brief.")
    first_question, first = _answered(client, "First.", place)
    _, second = _answered(client, "Second.", place)

    # when: the second question is edited, then the first one
    edited, other = _answered(client, "Edited.", place, parent_id=first["id"])
    restarted, root = _answered(client, "Started over.", place, parent_id=None)

    # then: each has the path that leads to it, and no more
    start = [("system", "Be brief.")]
    turns = [*start, ("user", first_question), ("assistant", "First."), ("user", edited)]
    assert _seen(rig, edited) == [turns]
    assert _seen(rig, restarted) == [[*start, ("user", restarted)]]
    assert [one["text"] for one in _branch(client, place)][1::2] == ["Started over."]
    for leaf, texts in ((second, ["First.", "Second."]), (other, ["First.", "Edited."])):
        assert [one["text"] for one in _branch(client, place, leaf["id"])][1::2] == texts
    beside = _branch(client, place, second["id"])[2]["siblings"]
    assert [one["leaf"] for one in beside] == [second["id"], other["id"]]
    roots = _branch(client, place)[0]["siblings"]
    assert [one["leaf"] for one in roots] == [other["id"], root["id"]]


def test_the_parent_of_a_question_is_an_answer_of_the_same_conversation(
    client: Client, worker: Worker
) -> None:
    place = client.conversation()
    _, answer = _answered(client, "Here.", place)
    _, elsewhere = _answered(client, "There.", client.conversation())

    for parent in (answer["parent_id"], elsewhere["id"], new_id()):
        refused = client.post_question("Below?", place, parent_id=parent)
        _refused(refused, 422, "invalid_parent")
    missing = client.http.get(f"/api/conversations/{place}", params={"leaf": elsewhere["id"]})
    _refused(missing, 404, "not_found")


def test_the_prompt_contains_partial_answers_but_no_empty_ones(
    rig: Rig, client: Client, worker: Worker
) -> None:
    place = client.conversation()
    partial = script(say("Some"), cut(at=0), tag=new_id())
    empty = script(cut(at=0), tag=new_id())
    for question in (partial, empty):
        assert client.ended(client.ask(question, place))["status"] == "ERROR"

    last, _ = _answered(client, "Well.", place)

    joined = f"{empty}\n\n{last}"  # roles take turns, so both questions are one
    turns = [("user", partial), ("assistant", "Some"), ("user", joined)]
    assert _seen(rig, last) == [turns]


@pytest.mark.parametrize("verb", ["ask", "edit", "retry", "continue"])
def test_the_same_idempotency_key_gives_the_same_messages(
    rig: Rig, client: Client, worker: Worker, verb: str
) -> None:
    # given
    place, key = client.conversation(), new_id()
    answer = client.ask(script(say("Some"), cut(at=0), tag=new_id()), place)
    client.ended(answer)
    question = script(*COMPLETE, tag=new_id())

    def send(**more: Any) -> httpx2.Response:
        if verb in ("ask", "edit"):
            parent = {"parent_id": answer} if verb == "edit" else {}
            return client.post_question(question, place, key, **parent, **more)
        return _post(client, f"{answer}/{verb}", key, **more)

    # when: it comes again while the first one is under way, and after it
    before = len(rig.scripted.requests())
    user, fresh = _accepted(send())
    now = _accepted(send())
    ended = client.ended(fresh["id"])
    later = _accepted(send())

    # then: nothing was asked twice, and each says how it is by then
    assert [one["id"] for one in now] == [user["id"], fresh["id"]]
    assert later == (user, ended)
    assert len(rig.scripted.requests()) == before + 1
    _refused(send(model="another"), 422, "idempotency_key_reused")
    another = client.conversation()
    _refused(client.post_question(question, another, key), 422, "idempotency_key_reused")
