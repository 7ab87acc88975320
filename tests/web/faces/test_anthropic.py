"""Anthropic's Messages through the real anthropic package, on the real processes."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool

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
from scripted.steps import Step
from tests.client import Client, new_id
from tests.credentials import bearer, new_key
from tests.cutting import CutPoint, CuttingProxy
from tests.rig import PATIENCE, Rig, eventually
from tests.stories import NEVER, sweep
from tests.tcp_proxy import TcpProxy

ADD: Any = {"name": "add", "input_schema": {"type": "object"}}


def sdk(url: str, key: str = "anything", **more: Any) -> Anthropic:
    return Anthropic(base_url=url, api_key=key, timeout=PATIENCE, **more)


@pytest.fixture(scope="module")
def api(web: Web) -> Iterator[Anthropic]:
    """The package as its users make it, but for the base URL."""
    with sdk(web.url, max_retries=0) as api:
        yield api


def asking(*steps: Step, **more: Any) -> dict[str, Any]:
    """A request whose answer is these steps."""
    return asked_for(script(*steps, tag=new_id()), **more)


def asked_for(question: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": "scripted", "max_tokens": 1000, "messages": messages, **more}


def post(url: str, sent: Any, headers: dict[str, str] | None = None) -> Any:
    """A request without the package."""
    return httpx2.post(
        f"{url}/v1/messages", json=sent, headers=headers, timeout=PATIENCE, verify=False
    )


# --- an answer ------------------------------------------------------------------------------------

SAID = [reasoning("Hm. "), say("Hello 😀"), say("\n\u2028there"), finish(), usage(), done()]


def check(answer: Any) -> None:
    """That an answer of SAID is whole."""
    thought, text = answer.content
    assert (thought.type, thought.thinking) == ("thinking", "Hm. ")
    assert (text.type, text.text) == ("text", "Hello 😀\n\u2028there")
    assert (answer.stop_reason, answer.model, answer.role) == ("end_turn", "scripted", "assistant")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 22)


def test_a_whole_answer_is_an_ordinary_run(
    rig: Rig, api: Anthropic, client: Client, worker: Worker
) -> None:
    sent = asking(*SAID, system="Be kind.", stop_sequences=["END"])
    options = {"temperature": 0.5, "top_k": 3}  # this version of the package has no names for them

    raw = api.messages.with_raw_response.create(**sent, extra_body=options)

    answer = raw.parse()
    check(answer)
    message_id = raw.headers["Outlive-Message-Id"]
    assert answer.id == f"msg_{message_id}"
    message = client.message(message_id)
    assert (message["status"], message["text"]) == ("DONE", "Hello 😀\n\u2028there")
    assert message["conversation_id"] == raw.headers["Outlive-Conversation-Id"]
    [record] = rig.scripted.wait_requests(1, contains=sent["messages"][0]["content"])
    assert record.request is not None
    wanted = {"messages", "temperature", "stop", "max_tokens", "top_k", "model"}
    assert {name: record.request[name] for name in wanted} == {
        "messages": [{"role": "system", "content": "Be kind."}, *sent["messages"]],
        "temperature": 0.5,
        "stop": ["END"],
        "max_tokens": 1000,
        "top_k": 3,
        "model": "scripted",
    }


def test_a_stream_is_read_raw_and_with_the_helper(api: Anthropic, worker: Worker) -> None:
    names = [event.type for event in api.messages.create(**asking(*SAID), stream=True)]
    with api.messages.stream(**asking(*SAID)) as stream:
        text = "".join(stream.text_stream)
        check(stream.get_final_message())

    assert text == "Hello 😀\n\u2028there"
    assert [one for one in names if one != "content_block_delta"] == [
        "message_start",
        *("content_block_start", "content_block_stop"),
        *("content_block_start", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]


def test_the_asynchronous_client_reads_the_same(web: Web, worker: Worker) -> None:
    async def read() -> None:
        async with AsyncAnthropic(base_url=web.url, api_key="x", timeout=PATIENCE) as api:
            check(await api.messages.create(**asking(*SAID)))
            events = [one async for one in await api.messages.create(**asking(*SAID), stream=True)]
            assert events[-1].type == "message_stop"
            async with api.messages.stream(**asking(*SAID)) as stream:
                check(await stream.get_final_message())

    asyncio.run(read())


def test_a_tool_loop_stays_one_thread(
    rig: Rig, api: Anthropic, client: Client, worker: Worker
) -> None:
    after = [say("It is 3."), finish(), done()]
    calls = tool_call("c1", "add", '{"a":1, "b": 2}')
    question = script(
        reasoning("Hm."), say("Let me see."), calls, finish("tool_calls"), done(),
        after=after, tag=new_id(),
    )  # fmt: skip
    sent = asked_for(question, tools=[ADD], tool_choice={"type": "auto"})
    with api.messages.stream(**sent) as stream:
        first = stream.get_final_message()
        place = stream.response.headers["Outlive-Conversation-Id"]
    assert first.stop_reason == "tool_use"
    assert first.content[-1].to_dict() == {
        "type": "tool_use",
        "id": "c1",
        "name": "add",
        "input": {"a": 1, "b": 2},
    }
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "3"}
    # as people do: what the package gave goes back as it is
    sent["messages"] += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]

    second = api.messages.with_raw_response.create(**sent)

    assert second.headers["Outlive-Conversation-Id"] == place
    assert second.headers["Outlive-Ignored"] == "thinking"
    [block] = second.parse().content
    assert (block.type, getattr(block, "text", "")) == ("text", "It is 3.")
    shown = client.http.get(f"/api/conversations/{place}").json()["messages"]
    assert [one["role"] for one in shown] == ["user", "assistant"] * 2
    one, other = (record.request or {} for record in rig.scripted.requests(contains=question))
    function = {"name": "add", "parameters": {"type": "object"}}
    assert one["tools"] == [{"type": "function", "function": function}]
    assert other["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": "3"}


@beta_tool
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


def test_the_packages_tool_runner_runs_the_loop(
    rig: Rig, api: Anthropic, client: Client, worker: Worker
) -> None:
    question = script(
        tool_call("c1", "add", '{"a": 1, "b": 2}'), finish("tool_calls"), done(),
        after=[say("It is 3."), finish(), done()], tag=new_id(),
    )  # fmt: skip

    sent: Any = asked_for(question)
    answer = api.beta.messages.tool_runner(**sent, tools=[add]).until_done()

    assert [getattr(one, "text", None) for one in answer.content] == ["It is 3."]
    _, second = (record.request or {} for record in rig.scripted.requests(contains=question))
    assert second["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": "3"}


def test_an_answer_goes_on_in_the_other_dialect(
    api: Anthropic, web: Web, client: Client, worker: Worker
) -> None:
    sent = asking(say("Hello"), finish(), done())
    first = api.messages.with_raw_response.create(**sent)
    more = {"role": "user", "content": script(say("Again"), finish(), done(), tag=new_id())}
    history = [*sent["messages"], {"role": "assistant", "content": "Hello"}, more]

    second = httpx2.post(
        f"{web.url}/v1/chat/completions", json={"messages": history}, timeout=PATIENCE, verify=False
    )

    names = [one.headers["Outlive-Conversation-Id"] for one in (first, second)]
    assert names[0] == names[1]
    assert second.json()["choices"][0]["message"]["content"] == "Again"


def test_a_stop_ends_a_stream_as_an_answer_ends(
    api: Anthropic, client: Client, worker: Worker
) -> None:
    with api.messages.stream(**asking(say("So far"), hold(NEVER))) as stream:
        message_id = stream.response.headers["Outlive-Message-Id"]
        client.shown(message_id, 6)
        client.stop(message_id)

        answer = stream.get_final_message()

    assert [getattr(one, "text", None) for one in answer.content] == ["So far"]
    assert answer.stop_reason == "end_turn"


# --- repeats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [False, True])
def test_the_packages_own_retry_joins(rig: Rig, web: Web, worker: Worker, streams: bool) -> None:
    name = f"cut {new_id()}"
    question = script(hold(name), say("Once and whole."), finish(), done())
    with (
        TcpProxy(web.url) as link,
        sdk(link.url, max_retries=2) as api,
        ThreadPoolExecutor(1) as pool,
    ):
        create: Any = api.messages.create
        asked: Any = pool.submit(create, **asked_for(question), stream=streams)
        rig.scripted.wait_held(name)
        link.cut()  # before the headers of a stream; the body of what is none
        link.mend()
        begun = link.sent
        eventually(lambda: link.sent > begun)
        rig.scripted.release(name)
        answer = asked.result(PATIENCE)
        deltas = [one for one in answer if one.type == "content_block_delta"] if streams else []
        text = "".join(one.delta.text for one in deltas) if streams else answer.content[0].text

    assert text == "Once and whole."
    assert len(rig.scripted.requests(question)) == 1


def test_a_body_that_is_cut_is_asked_for_again_and_joins(
    rig: Rig, web: Web, worker: Worker
) -> None:
    sent = asking(say("Once and whole."), finish(), done())
    events = {"Accept": "text/event-stream"}  # by which the proxy knows what to cut
    with (
        CuttingProxy(web.url, [CutPoint(b'"content":', 1, 20)]) as link,
        sdk(link.url, max_retries=2) as api,
    ):
        answer: Any = api.messages.create(**sent, extra_headers=events)

    assert answer.content[0].text == "Once and whole."
    assert link.cuts == 1
    assert len(rig.scripted.requests(sent["messages"][0]["content"])) == 1


def test_the_same_key_is_asked_once(rig: Rig, web: Web, worker: Worker) -> None:
    sent = asking(say("Once."), finish(), done())
    key = {"Idempotency-Key": new_id()}

    replies = [post(web.url, sent, key) for _ in range(2)]
    other = post(web.url, {**sent, "max_tokens": 5}, key)

    assert len({one.headers["Outlive-Message-Id"] for one in replies}) == 1
    assert len(rig.scripted.requests(sent["messages"][0]["content"])) == 1
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
def test_what_a_provider_refuses_has_its_status(
    api: Anthropic, worker: Worker, streams: bool
) -> None:
    with pytest.raises(anthropic.AuthenticationError) as caught:
        api.messages.create(**asking(wrong_key()), stream=streams)

    assert caught.value.response.headers["Outlive-Message-Id"]
    assert caught.value.body == {
        "type": "error",
        "error": {
            "type": "authentication_error",
            "message": "The model's provider refused the API key.",
            "code": "invalid_api_key",
        },
    }


def test_what_fails_in_the_middle_is_an_error_in_the_stream(api: Anthropic, worker: Worker) -> None:
    events: list[Any] = []

    with pytest.raises(anthropic.APIStatusError) as caught:
        events.extend(api.messages.create(**asking(say("So far"), error_object()), stream=True))

    body: Any = caught.value.body
    assert (body["error"]["type"], body["error"]["code"]) == ("api_error", "provider_error")
    with pytest.raises(anthropic.InternalServerError):
        api.messages.create(**asking(say("So far"), error_object()))


def test_a_killed_worker_is_an_error_after_what_was_shown(
    rig: Rig, api: Anthropic, client: Client, worker: Worker
) -> None:
    with api.messages.stream(**asking(say("So far"), hold(NEVER))) as stream:
        client.shown(stream.response.headers["Outlive-Message-Id"], 6)
        worker.kill()
        sweep(rig, died=worker.boot)

        with pytest.raises(anthropic.APIStatusError) as caught:
            stream.until_done()

        body: Any = caught.value.body
        assert body["error"]["code"] == "worker_lost"
        assert [getattr(one, "text", None) for one in stream.current_message_snapshot.content] == [
            "So far"
        ]


def test_a_cut_in_the_middle_is_an_error_to_the_package(
    rig: Rig, web: Web, client: Client, worker: Worker
) -> None:
    name = f"cut {new_id()}"
    with (
        TcpProxy(web.url) as link,
        sdk(link.url, max_retries=0) as api,
        api.messages.stream(**asking(say("So far"), hold(name), say("."), finish(), done())) as it,
    ):
        message_id = it.response.headers["Outlive-Message-Id"]
        client.shown(message_id, 6)
        link.cut()
        with pytest.raises(httpx2.HTTPError):
            it.until_done()
    rig.scripted.release(name)

    assert client.ended(message_id)["text"] == "So far."


def test_what_is_refused_is_named(api: Anthropic, web: Web) -> None:
    search: Any = {"type": "web_search_20250305", "name": "web_search"}

    with pytest.raises(anthropic.BadRequestError) as caught:
        api.messages.create(**asking(done(), tools=[search]))
    with pytest.raises(anthropic.NotFoundError) as absent:
        api.messages.count_tokens(model="x", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(anthropic.NotFoundError) as batches:
        api.messages.batches.list()

    assert "tools.0.type" in caught.value.message
    assert "/v1/messages/count_tokens is not supported here" in absent.value.message
    assert "/v1/messages/batches is not supported here" in batches.value.message
    nowhere = httpx2.get(f"{web.url}/v1/messages/nothing", verify=False)
    assert (nowhere.status_code, nowhere.json()["error"]["type"]) == (404, "not_found_error")
    method = httpx2.get(f"{web.url}/v1/messages", verify=False)
    assert (method.status_code, method.headers["Allow"]) == (405, "OPTIONS, POST")
    assert method.json()["error"]["type"] == "invalid_request_error"
    long = post(web.url, asked_for("x" * 200_001))
    assert (long.status_code, long.json()["error"]["code"]) == (400, "question_too_long")
    broken = httpx2.post(
        f"{web.url}/v1/messages",
        content=b"{",
        headers={"Content-Type": "application/json"},
        verify=False,
    )
    assert (broken.status_code, json.loads(broken.text)["type"]) == (400, "error")


# --- who may ask, and models ----------------------------------------------------------------------


def test_a_service_key_is_the_packages_key_in_either_header(
    rig: Rig, required_web: Web, worker: Worker
) -> None:
    key, _ = new_key(rig, "ask")
    sent = asking(say("For you"), finish(), done())
    with sdk(required_web.url, key, max_retries=0) as api:
        assert api.messages.create(**sent).content[0].to_dict()["text"] == "For you"

    replies = [
        post(required_web.url, sent, headers)
        for headers in (
            {"x-api-key": key},
            {"x-api-key": key + "x"},
            {"x-api-key": "sk-ant-of-somebody"},
            {"x-api-key": "wrong", **bearer(key)},
            None,
        )
    ]

    codes = [one.json().get("error", {}).get("code") for one in replies]
    assert codes == [None, "key_invalid", "key_invalid", None, "unauthenticated"]
    assert {one.status_code for one in replies} == {200, 401}
    assert replies[1].json()["error"]["type"] == "authentication_error"
    assert key not in rig.logs()


def test_models_are_listed_for_either_package(api: Anthropic, web: Web) -> None:
    listed = list(api.models.list())

    assert listed[0].id == "scripted"
    assert (listed[0].type, listed[0].display_name) == ("model", "scripted")
    assert api.models.retrieve(listed[-1].id).id == listed[-1].id
