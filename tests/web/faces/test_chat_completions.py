"""Chat completions through the real openai package, on the real processes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from local.programs import Web, Worker
from scripted import (
    done,
    error_object,
    finish,
    hold,
    reasoning,
    say,
    script,
    tool_call,
    usage,
    wrong_key,
)
from tests.client import Client, new_id
from tests.credentials import bearer, new_key
from tests.rig import PATIENCE, Rig, eventually
from tests.stories import NEVER
from tests.tcp_proxy import TcpProxy
from tests.web.faces.test_tools import image

#: What the scripted provider reports.
USED = (11, 22, 33)


def sdk(url: str, key: str = "anything", **more: Any) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key=key, timeout=PATIENCE, **more)


@pytest.fixture(scope="module")
def api(web: Web) -> Iterator[OpenAI]:
    """The package as its users make it, but for the base URL."""
    with sdk(web.url, max_retries=0) as api:
        yield api


def user(text: Any) -> Any:
    return {"role": "user", "content": text}


def post(url: str, question: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
    """A request without the package."""
    sent = {"model": "scripted", "messages": [user(question)], **more}
    return httpx2.post(
        f"{url}/v1/chat/completions", json=sent, headers=headers, timeout=PATIENCE, verify=False
    )


# --- an answer ------------------------------------------------------------------------------------


def test_a_whole_answer_is_an_ordinary_run(
    rig: Rig, api: OpenAI, client: Client, worker: Worker
) -> None:
    question = script(
        say("Hello 😀"), say("\n\u2028there"), finish(), usage(), done(), tag=new_id()
    )

    raw = api.chat.completions.with_raw_response.create(
        model="scripted", messages=[user(question)], temperature=0.5, extra_body={"top_k": 3}
    )

    answer = raw.parse()
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("Hello 😀\n\u2028there", "stop")
    assert answer.usage is not None
    used = answer.usage
    assert (used.prompt_tokens, used.completion_tokens, used.total_tokens) == USED
    message_id = raw.headers["Outlive-Message-Id"]
    assert answer.id == f"chatcmpl-{message_id}"
    message = client.message(message_id)
    assert (message["status"], message["text"]) == ("DONE", choice.message.content)
    assert message["conversation_id"] == raw.headers["Outlive-Conversation-Id"]
    listed = client.http.get("/api/conversations").json()["items"]
    assert message["conversation_id"] in [one["id"] for one in listed]
    [record] = rig.scripted.wait_requests(1, contains=question)
    assert record.request is not None
    sent = {name: record.request[name] for name in ("messages", "temperature", "top_k", "model")}
    assert sent == {
        "messages": [user(question)],
        "temperature": 0.5,
        "top_k": 3,
        "model": "scripted",
    }


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_is_put_together_by_the_package(
    api: OpenAI, worker: Worker, include_usage: bool
) -> None:
    steps = [reasoning("Hm. "), say("Hello 😀"), say(" there"), finish("length"), usage(), done()]
    more: Any = {"stream_options": {"include_usage": True}} if include_usage else {}

    chunks = list(
        api.chat.completions.create(
            model="scripted", messages=[user(script(*steps, tag=new_id()))], stream=True, **more
        )
    )

    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == "Hello 😀 there"
    thoughts = [(delta.model_extra or {}).get("reasoning_content", "") for delta in deltas]
    assert "".join(thoughts) == "Hm. "
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert [reason for reason in reasons if reason] == ["length"]
    used = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
    assert used == ([33] if include_usage else [])


def test_the_helper_puts_a_stream_together_with_calls_that_a_model_makes(
    api: OpenAI, worker: Worker
) -> None:
    question = script(
        say("Look: "), tool_call("1", "look", '{"a": 1}'), finish("tool_calls"), done()
    )

    with api.chat.completions.stream(model="scripted", messages=[user(question)]) as stream:
        [choice] = stream.get_final_completion().choices

    assert choice.message.content == "Look: "
    assert [one.function.arguments for one in choice.message.tool_calls or ()] == ['{"a": 1}']
    assert choice.finish_reason == "tool_calls"


def test_an_answer_outlives_its_client(
    rig: Rig, api: OpenAI, client: Client, worker: Worker
) -> None:
    name = f"left {new_id()}"
    question = script(say("Begun, "), hold(name), say("ended."), finish(), done())
    with api.chat.completions.with_streaming_response.create(
        model="scripted", messages=[user(question)], stream=True
    ) as response:
        message_id = response.headers["Outlive-Message-Id"]
        next(line for line in response.iter_lines() if "Begun" in line)
    rig.scripted.wait_held(name)
    rig.scripted.release(name)

    message = client.ended(message_id)

    assert (message["status"], message["text"]) == ("DONE", "Begun, ended.")


def test_a_stop_ends_a_stream_as_an_answer_ends(
    api: OpenAI, client: Client, worker: Worker
) -> None:
    question = script(say("So far"), hold(NEVER), tag=new_id())
    with api.chat.completions.create(
        model="scripted", messages=[user(question)], stream=True
    ) as stream:
        message_id = stream.response.headers["Outlive-Message-Id"]
        client.shown(message_id, 6)
        client.stop(message_id)

        chunks = list(stream)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert (text, chunks[-1].choices[0].finish_reason) == ("So far", "stop")


# --- threads --------------------------------------------------------------------------------------


def test_a_conversation_is_one_thread_with_its_branches(
    rig: Rig, api: OpenAI, client: Client, worker: Worker
) -> None:
    history: list[Any] = [{"role": "system", "content": "Be kind."}]
    places = set()
    for number in range(3):
        history.append(user(script(say(f"Answer {number}"), finish(), done(), tag=new_id())))
        raw = api.chat.completions.with_raw_response.create(model="scripted", messages=history)
        places.add(raw.headers["Outlive-Conversation-Id"])
        # as people do: what the package gave goes back as it is
        history.append(raw.parse().choices[0].message)
    [place] = places
    edited = [*history[:3], user(script(say("Branch"), finish(), done(), tag=new_id()))]
    api.chat.completions.create(model="scripted", messages=edited)

    shown = client.http.get(f"/api/conversations/{place}").json()

    assert [one["text"] for one in shown["messages"]][-1] == "Branch"
    assert len(shown["messages"]) == 4
    assert [len(one["siblings"]) for one in shown["messages"]] == [1, 1, 2, 1]
    assert (
        rig.rows("SELECT count(*) AS n FROM messages WHERE conversation_id = :c", c=place)[0].n == 8
    )
    [record] = rig.scripted.wait_requests(1, contains=edited[-1]["content"])
    assert record.request is not None
    said = [(one["role"], one["content"]) for one in record.request["messages"]]
    assert said == [
        ("system", "Be kind."),
        ("user", history[1]["content"]),
        ("assistant", "Answer 0"),
        ("user", edited[-1]["content"]),
    ]


def test_a_conversation_can_be_named(api: OpenAI, client: Client, worker: Worker) -> None:
    named = client.conversation()
    question = script(say("Here"), finish(), done(), tag=new_id())
    sent: dict[str, Any] = {"model": "scripted", "messages": [user(question)]}
    create = api.chat.completions.with_raw_response.create

    by_header = create(**sent, extra_headers={"Outlive-Conversation-Id": named})
    by_metadata = create(**sent, metadata={"outlive_conversation_id": named})

    for raw in (by_header, by_metadata):
        assert raw.headers["Outlive-Conversation-Id"] == named
    with pytest.raises(openai.NotFoundError):
        create(**sent, extra_headers={"Outlive-Conversation-Id": new_id()})


# --- repeats --------------------------------------------------------------------------------------


def test_the_packages_own_retry_joins(rig: Rig, web: Web, worker: Worker) -> None:
    for streams in (False, True):
        name = f"cut {new_id()}"
        question = script(hold(name), say("Once and whole."), finish(), done())
        with (
            TcpProxy(web.url) as link,
            sdk(link.url, max_retries=2) as api,
            ThreadPoolExecutor(1) as pool,
        ):
            asked: Any = pool.submit(
                api.chat.completions.create,
                model="scripted",
                messages=[user(question)],
                stream=streams,
            )
            rig.scripted.wait_held(name)
            link.cut()
            link.mend()
            begun = link.sent
            eventually(lambda: link.sent > begun)  # noqa: B023 - called at once
            rig.scripted.release(name)
            answer = asked.result(PATIENCE)
            text = (
                "".join(chunk.choices[0].delta.content or "" for chunk in answer)
                if streams
                else answer.choices[0].message.content
            )

        assert text == "Once and whole."
        assert len(rig.scripted.requests(question)) == 1


def test_the_same_key_is_asked_once_and_an_equal_request_twice(
    rig: Rig, web: Web, other_web: Web, worker: Worker
) -> None:
    question = script(say("Once."), finish(), done(), tag=new_id())
    key = {"Idempotency-Key": new_id()}

    keyed = [post(one.url, question, key) for one in (web, other_web)]
    plain = post(web.url, question)
    other = post(web.url, question + " ", key)

    assert {one.headers["Outlive-Message-Id"] for one in keyed} == {
        keyed[0].headers["Outlive-Message-Id"]
    }
    assert [one.json()["choices"][0]["message"]["content"] for one in (*keyed, plain)] == (
        ["Once."] * 3
    )
    assert plain.headers["Outlive-Message-Id"] != keyed[0].headers["Outlive-Message-Id"]
    assert len(rig.scripted.requests(question)) == 2
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
def test_what_a_provider_refuses_has_its_status_and_code(
    api: OpenAI, worker: Worker, streams: bool
) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        api.chat.completions.create(
            model="scripted", messages=[user(script(wrong_key(), tag=new_id()))], stream=streams
        )

    assert caught.value.code == "invalid_api_key"
    assert caught.value.response.headers["Outlive-Message-Id"]
    assert caught.value.body == {
        "message": "The model's provider refused the API key.",
        "type": "authentication_error",
        "param": None,
        "code": "invalid_api_key",
    }


def test_what_fails_in_the_middle_is_an_error_in_the_stream(api: OpenAI, worker: Worker) -> None:
    question = script(say("So far"), error_object(), tag=new_id())
    stream = api.chat.completions.create(model="scripted", messages=[user(question)], stream=True)
    chunks: list[Any] = []

    with pytest.raises(openai.APIError) as caught:
        chunks.extend(stream)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert (text, caught.value.code) == ("So far", "provider_error")


def test_what_fails_in_the_middle_is_a_status_of_a_whole_answer(
    api: OpenAI, worker: Worker
) -> None:
    question = script(say("So far"), error_object(), tag=new_id())

    with pytest.raises(openai.InternalServerError) as caught:
        api.chat.completions.create(model="scripted", messages=[user(question)])

    assert (caught.value.status_code, caught.value.code) == (502, "provider_error")


def test_what_is_refused_is_named(api: OpenAI, web: Web) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        api.chat.completions.create(model="scripted", messages=[user("hello")], logprobs=True)

    error = caught.value
    assert (error.param, error.code) == ("logprobs", "unsupported_parameter")
    unknown = post(web.url, "hello", never_heard_of=1)
    assert unknown.json()["error"] == {
        "message": "Unknown parameter: 'never_heard_of'.",
        "type": "invalid_request_error",
        "param": "never_heard_of",
        "code": "unknown_parameter",
    }
    long = post(web.url, "x" * 200_001)
    assert (long.status_code, long.json()["error"]["code"]) == (400, "question_too_long")
    broken = httpx2.post(
        f"{web.url}/v1/chat/completions",
        content=b"{",
        headers={"Content-Type": "application/json"},
        verify=False,
    )
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "malformed_json")


def test_whatever_goes_wrong_below_v1_has_openais_form(
    web: Web, required_web: Web, rig: Rig
) -> None:
    def error(url: str, method: str, path: str, **more: Any) -> tuple[int, str, str]:
        reply = httpx2.request(method, f"{url}/v1{path}", verify=False, **more)
        assert reply.headers["Content-Type"] == "application/json"
        found = reply.json()["error"]
        assert [*found] == ["message", "type", "param", "code"]
        return reply.status_code, found["type"], found["code"]

    invalid = "invalid_request_error"
    assert error(web.url, "GET", "/nothing/here") == (404, invalid, "not_found")
    assert error(web.url, "GET", "/chat/completions") == (405, invalid, "method_not_allowed")
    assert error(web.url, "DELETE", "/models") == (405, invalid, "method_not_allowed")
    assert error(web.url, "POST", "/chat/completions", content=b"x" * (5 << 20)) == (
        (413, invalid, "too_large")
    )
    unauthenticated = (401, "authentication_error", "unauthenticated")
    assert error(required_web.url, "GET", "/nothing/here") == unauthenticated
    assert error(required_web.url, "GET", "/models") == unauthenticated
    key, _ = new_key(rig, "read")
    assert error(required_web.url, "POST", "/chat/completions", json={}, headers=bearer(key)) == (
        403,
        "permission_error",
        "insufficient_scope",
    )
    plain = httpx2.get(f"{web.url}/api/nothing", verify=False)
    assert plain.headers["Content-Type"] == "application/problem+json"


# --- stored completions ---------------------------------------------------------------------------


def test_a_completion_can_be_read_again_with_its_messages(
    api: OpenAI, client: Client, worker: Worker
) -> None:
    question = script(say("Kept."), finish(), usage(), done(), tag=new_id())
    history: list[Any] = [
        {"role": "system", "content": "Be kind."},
        user("hello"),
        {"role": "assistant", "content": "Hi"},
        user([{"type": "text", "text": question}, image("https://a.invalid/b.png")]),
    ]
    made = api.chat.completions.create(
        model="scripted", messages=history, temperature=0.5, metadata={"a": "b"}, store=True
    )

    found = api.chat.completions.retrieve(made.id)

    assert (found.id, found.choices, found.usage) == (made.id, made.choices, made.usage)
    assert found.model_dump()["metadata"] == {"a": "b"}
    assert found.model_dump()["temperature"] == 0.5
    # the package turns pages by itself
    listed = list(api.chat.completions.messages.list(made.id, limit=3))
    assert [(one.role, one.content) for one in listed] == [
        ("system", "Be kind."),
        ("user", "hello"),
        ("assistant", "Hi"),
        ("user", question),
    ]
    assert [part.type for part in listed[3].content_parts or ()] == ["text", "image_url"]
    newest = api.chat.completions.messages.list(made.id, order="desc", limit=1)
    assert [one.id for one in newest.data] == [listed[3].id]
    for name in (new_id(), "chatcmpl-x"):
        with pytest.raises(openai.NotFoundError):
            api.chat.completions.retrieve(name)
    # an answer that was asked in another way is one, too
    native = client.ended(client.ask("hello"))
    assert api.chat.completions.retrieve(native["id"]).choices[0].message.content == native["text"]


def test_a_completion_is_read_while_it_is_written_and_when_it_failed(
    rig: Rig, api: OpenAI, client: Client, worker: Worker
) -> None:
    asked = client.ask(script(say("So far"), hold(NEVER), tag=new_id()))
    client.shown(asked, 6)
    [choice] = api.chat.completions.retrieve(asked).choices
    assert choice.model_dump()["finish_reason"] is None
    client.stop(asked)
    client.ended(asked)
    assert api.chat.completions.retrieve(asked).choices[0].finish_reason == "stop"
    failed = client.ended(client.ask(script(say("So"), error_object(), tag=new_id())))
    found = api.chat.completions.retrieve(failed["id"])
    assert found.choices[0].message.content == "So"
    assert (found.model_extra or {})["error"]["code"] == "provider_error"


# --- models, and who may ask ----------------------------------------------------------------------


def test_models_are_listed(api: OpenAI) -> None:
    listed = [model.id for model in api.models.list()]

    assert listed[0] == "scripted"
    assert api.models.retrieve(listed[-1]).id == listed[-1]
    with pytest.raises(openai.NotFoundError):
        api.models.retrieve("no/such/model")


def test_a_service_key_is_the_packages_key(rig: Rig, required_web: Web, worker: Worker) -> None:
    question = script(say("For you"), finish(), done(), tag=new_id())
    key, _ = new_key(rig, "ask")
    with sdk(required_web.url, key, max_retries=0) as api:
        raw = api.chat.completions.with_raw_response.create(
            model="scripted", messages=[user(question)]
        )
        assert raw.parse().choices[0].message.content == "For you"
    other, _ = new_key(rig, "ask")
    place = {"Outlive-Conversation-Id": raw.headers["Outlive-Conversation-Id"]}

    strange = post(required_web.url, question, bearer(other) | place)
    unknown = post(required_web.url, question)

    assert (strange.status_code, strange.json()["error"]["code"]) == (404, "not_found")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (401, "unauthenticated")


def test_a_repeat_of_another_credential_is_a_request_of_its_own(
    rig: Rig, required_web: Web, worker: Worker
) -> None:
    question = script(say("Yours"), finish(), done(), tag=new_id())
    repeat = {"x-stainless-retry-count": "1"}
    keys = [new_key(rig, "ask")[0] for _ in range(2)]

    first = post(required_web.url, question, bearer(keys[0]))
    joined = post(required_web.url, question, bearer(keys[0]) | repeat)
    other = post(required_web.url, question, bearer(keys[1]) | repeat)

    ids = [one.headers["Outlive-Message-Id"] for one in (first, joined, other)]
    assert ids[0] == ids[1] != ids[2]
    assert len(rig.scripted.requests(question)) == 2
