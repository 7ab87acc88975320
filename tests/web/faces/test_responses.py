"""Responses through the real openai package, on the real processes."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
import redis
from openai import AsyncOpenAI, OpenAI

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
from shared.store.database import run
from tests.client import Client, new_id
from tests.open_responses import check_event, check_resource
from tests.rig import PATIENCE, Rig, eventually
from tests.stories import NEVER, sweep

MODEL = "scripted"
TOOL: Any = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}
#: Thoughts, a text and a call.
EVERYTHING = (
    reasoning("Hm. 😀 "), say("Hello\n\u2028there", chunk=3), tool_call("c1", "look", '{"a": 1}'),
    finish("tool_calls"), usage(), done(),
)  # fmt: skip


def sdk(url: str, key: str = "anything", **more: Any) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key=key, timeout=PATIENCE, **more)


@pytest.fixture(scope="module")
def api(web: Web) -> Iterator[OpenAI]:
    """The package as its users make it, but for the base URL."""
    with sdk(web.url, max_retries=0) as api:
        yield api


def get(url: str, path: str, **params: Any) -> Any:
    """A reply without the package."""
    return httpx2.get(f"{url}/v1/responses/{path}", params=params, timeout=PATIENCE, verify=False)


def saying(words: str, **more: Any) -> str:
    return script(say(words), finish(), usage(), done(), tag=new_id(), **more)


def prompt(rig: Rig, question: str) -> list[Any]:
    """What the provider was sent with this question."""
    record = rig.scripted.wait_requests(1, contains=question)[-1]
    assert record.request is not None
    messages: list[Any] = record.request["messages"]
    return messages


# --- asking ---------------------------------------------------------------------------------------


def test_a_whole_answer_is_an_ordinary_run_and_a_complete_resource(
    rig: Rig, web: Web, api: OpenAI, client: Client, worker: Worker
) -> None:
    question = script(*EVERYTHING, tag=new_id())

    raw = api.responses.with_raw_response.create(
        model=MODEL, input=question, instructions="Be kind.", metadata={"a": "b"}, tools=[TOOL],
        temperature=0.5, max_output_tokens=500, user="u",
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
    )  # fmt: skip

    check_resource(raw.http_response.json())
    answer = raw.parse()
    assert (answer.status, answer.output_text) == ("completed", "Hello\n\u2028there")
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]
    assert (answer.metadata, answer.instructions) == ({"a": "b"}, "Be kind.")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 22)
    message_id = raw.headers["Outlive-Message-Id"]
    assert answer.id == f"resp_{message_id}"
    assert client.message(message_id)["text"] == answer.output_text
    assert api.responses.retrieve(answer.id) == answer
    [record] = rig.scripted.wait_requests(1, contains=question)
    sent = dict(record.request or {})
    assert [one["role"] for one in sent["messages"]] == ["system", "user"]
    assert (sent["max_completion_tokens"], sent["user"]) == (500, "u")
    assert sent["response_format"]["json_schema"] == {"name": "n", "schema": {"type": "object"}}
    assert sent["tools"][0]["function"]["name"] == "look"
    assert "metadata" not in sent


def test_the_helper_puts_a_stream_together(api: OpenAI, worker: Worker) -> None:
    question = script(*EVERYTHING, tag=new_id())

    with api.responses.stream(model=MODEL, input=question, tools=[TOOL]) as stream:
        final = stream.get_final_response()

    assert final.output_text == "Hello\n\u2028there"
    assert final.output[-1].type == "function_call"
    assert final.output[-1].arguments == '{"a": 1}'


def test_the_background_is_answered_at_once_and_polled(
    rig: Rig, web: Web, api: OpenAI, worker: Worker
) -> None:
    name = f"background {new_id()}"
    question = script(say("So "), hold(name), say("far."), finish(), done())

    begun = api.responses.create(model=MODEL, input=question, background=True)

    assert begun.status in ("queued", "in_progress")
    rig.scripted.wait_held(name)
    eventually(lambda: api.responses.retrieve(begun.id).output_text == "So ")
    check_resource(get(web.url, begun.id).json())
    assert api.responses.retrieve(begun.id).status == "in_progress"
    rig.scripted.release(name)
    eventually(lambda: api.responses.retrieve(begun.id).status == "completed")
    ended = api.responses.retrieve(begun.id)
    assert (ended.output_text, ended.background) == ("So far.", True)


# --- resuming -------------------------------------------------------------------------------------


def events(found: Any) -> list[dict[str, Any]]:
    return [event.to_dict() for event in found]


def text_of(found: list[dict[str, Any]]) -> dict[str, str]:
    """The deltas joined, by kind."""
    joined: dict[str, str] = {}
    for event in found:
        if event["type"].endswith(".delta"):
            joined[event["type"]] = joined.get(event["type"], "") + event["delta"]
    return joined


def others(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in found if not event["type"].endswith(".delta")]


def names(found: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(event["sequence_number"], event["type"]) for event in others(found)]


def test_from_every_number_comes_exactly_the_rest_also_a_day_later_and_without_redis(
    rig: Rig, web: Web, api: OpenAI, worker: Worker
) -> None:
    question = script(*EVERYTHING, tag=new_id())
    stream = api.responses.create(model=MODEL, input=question, background=True, stream=True)
    live = events(stream)
    response_id = live[0]["response"]["id"]
    _age(rig, response_id)
    with redis.Redis.from_url(rig.redis.url) as server:
        server.flushall()

    whole = events(api.responses.retrieve(response_id, stream=True))
    assert names(whole) == names(live)
    assert text_of(whole) == text_of(live)
    last = whole[-1]["sequence_number"]
    for number in range(last + 1):
        rest = events(api.responses.retrieve(response_id, stream=True, starting_after=number))

        expected = [event for event in whole if event["sequence_number"] > number]
        assert others(rest) == others(expected)
        assert all(event["sequence_number"] > number for event in rest)
        if number in [event["sequence_number"] for event in whole]:
            assert text_of(rest) == text_of(expected)
    assert api.responses.retrieve(response_id).status == "completed"


def _age(rig: Rig, response_id: str) -> None:
    """Make an answer a day old, past the trigger that lets no ended row change."""
    with rig.db.transaction() as connection:
        run(connection, "SET LOCAL session_replication_role = replica")
        for column in ("created_at", "started_at", "ended_at"):
            aged = f"UPDATE messages SET {column} = {column} - interval '1 day' WHERE id = :id"
            run(connection, aged, id=response_id.removeprefix("resp_"))


def test_a_running_answer_goes_on_after_the_last_event_that_was_seen(
    rig: Rig, api: OpenAI, worker: Worker
) -> None:
    name = f"resumed {new_id()}"
    question = script(reasoning("Hm"), say("So "), hold(name), say("far."), finish(), done())
    seen: list[dict[str, Any]] = []
    with api.responses.create(model=MODEL, input=question, background=True, stream=True) as stream:
        for event in stream:
            seen.append(event.to_dict())
            if seen[-1].get("delta") == "So ":
                break
    response_id = seen[0]["response"]["id"]
    number = seen[-1]["sequence_number"]

    resumed = api.responses.retrieve(response_id, stream=True, starting_after=number)
    rig.scripted.release(name)
    seen += events(resumed)

    assert text_of(seen) == {
        "response.reasoning_text.delta": "Hm",
        "response.output_text.delta": "So far.",
    }
    numbers = [event["sequence_number"] for event in seen]
    assert numbers == sorted(set(numbers))
    with api.responses.stream(response_id=response_id, starting_after=number) as helped:
        assert next(iter(helped)).sequence_number > number
        assert helped.get_final_response().output_text == "So far."


def test_the_async_package_does_the_same(web: Web, worker: Worker) -> None:
    question = script(*EVERYTHING, tag=new_id())

    async def story() -> None:
        async with AsyncOpenAI(base_url=f"{web.url}/v1", api_key="x", max_retries=0) as api:
            stream = await api.responses.create(
                model=MODEL, input=question, background=True, stream=True
            )
            whole: list[Any] = [event.to_dict() async for event in stream]
            response_id = whole[0]["response"]["id"]
            number = whole[9]["sequence_number"]
            rest = await api.responses.retrieve(response_id, stream=True, starting_after=number)
            assert [event.to_dict() async for event in rest][-1] == whole[-1]
            async with api.responses.stream(response_id=response_id, starting_after=3) as helped:
                final = await helped.get_final_response()
            assert final.output_text == "Hello\n\u2028there"
            assert (await api.responses.cancel(response_id)).status == "completed"
            assert len((await api.responses.input_items.list(response_id)).data) == 1
            await api.responses.delete(response_id)
            with pytest.raises(openai.NotFoundError):
                await api.responses.retrieve(response_id)

    asyncio.run(story())


def test_an_answer_of_every_dialect_is_a_response(
    web: Web, api: OpenAI, client: Client, worker: Worker
) -> None:
    asked: Any = [{"role": "user", "content": saying("Hello")}]
    raw = api.chat.completions.with_raw_response.create(model=MODEL, messages=asked)
    native = client.ask(saying("Native"))
    client.ended(native)

    for name in (raw.headers["Outlive-Message-Id"], raw.parse().id):
        assert api.responses.retrieve(name).output_text == "Hello"
    found = api.responses.retrieve(native)
    check_resource(get(web.url, native).json())
    assert (found.id, found.output_text) == (f"resp_{native}", "Native")
    assert events(api.responses.retrieve(native, stream=True))[-1]["type"] == "response.completed"


# --- conversations --------------------------------------------------------------------------------


def test_a_previous_response_is_the_parent_and_its_instructions_do_not_carry_over(
    rig: Rig, api: OpenAI, client: Client, worker: Worker
) -> None:
    one, two, other = saying("One"), saying("Two"), saying("Other")
    first = api.responses.create(model=MODEL, input=one, instructions="Be kind.")

    second = api.responses.create(model=MODEL, input=two, previous_response_id=first.id)
    branch = api.responses.create(model=MODEL, input=other, previous_response_id=first.id)

    said = [(turn["role"], turn["content"]) for turn in prompt(rig, two)]
    assert said == [("user", one), ("assistant", "One"), ("user", two)]
    assert (second.previous_response_id, second.instructions) == (first.id, None)
    assert second.conversation == first.conversation
    assert second.conversation is not None
    place = second.conversation.id.removeprefix("conv_")
    shown = client.http.get(f"/api/conversations/{place}").json()["messages"]
    assert [turn["text"] for turn in shown][1::2] == ["One", "Other"]
    assert branch.output_text == "Other"


def test_a_conversation_is_continued_below_its_newest_answer(
    rig: Rig, api: OpenAI, worker: Worker
) -> None:
    name, one, two = new_id(), saying("One"), saying("Two")
    first = api.responses.create(model=MODEL, input=one, conversation=name)

    second = api.responses.create(model=MODEL, input=two, conversation={"id": name})
    assert second.conversation is not None
    three = saying("Three")
    api.responses.create(model=MODEL, input=three, conversation=second.conversation.id)

    assert first.conversation == second.conversation
    assert [turn["content"] for turn in prompt(rig, three)][1::2] == ["One", "Two"]


def test_a_tool_loop_goes_on_by_reference_and_by_repeating_the_input(
    rig: Rig, api: OpenAI, worker: Worker
) -> None:
    call = script(tool_call("c1", "look", "{}"), finish("tool_calls"), done(), tag=new_id())
    result: Any = {"type": "function_call_output", "call_id": "c1", "output": saying("Seen.")}
    first = api.responses.create(model=MODEL, input=call, tools=[TOOL])

    by_id = api.responses.create(
        model=MODEL, input=[result], previous_response_id=first.id, tools=[TOOL]
    )
    whole: Any = [{"role": "user", "content": call}, *first.output, result]
    repeated = api.responses.create(model=MODEL, input=whole, tools=[TOOL])

    assert by_id.conversation == repeated.conversation == first.conversation
    for record in rig.scripted.wait_requests(3, contains=call)[1:]:
        roles = [turn["role"] for turn in (record.request or {})["messages"]]
        assert roles == ["user", "assistant", "tool"]
    wrong: Any = [{**result, "call_id": "c2"}]
    with pytest.raises(openai.BadRequestError):
        api.responses.create(model=MODEL, input=wrong, previous_response_id=first.id)


def test_items_are_referred_to_and_images_reach_the_provider(
    rig: Rig, api: OpenAI, worker: Worker
) -> None:
    first = api.responses.create(model=MODEL, input=saying("One"))
    question = saying("Two")
    image = {"type": "input_image", "detail": "auto", "image_url": "https://example.com/a.png"}
    whole: Any = [
        {"role": "user", "content": "And?"},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": [image, {"type": "input_text", "text": question}]},
    ]

    api.responses.create(model=MODEL, input=whole)

    said = prompt(rig, question)
    assert [turn["role"] for turn in said] == ["user", "assistant", "user"]
    assert said[1]["content"] == "One"
    assert [part["type"] for part in said[2]["content"]] == ["image_url", "text"]


def test_the_header_names_a_conversation_that_is_there(
    api: OpenAI, client: Client, worker: Worker
) -> None:
    place = client.conversation()
    named = {"Outlive-Conversation-Id": place}

    found = api.responses.create(model=MODEL, input=saying("Here"), extra_headers=named)

    assert found.conversation is not None
    assert found.conversation.id == f"conv_{place}"
    with pytest.raises(openai.NotFoundError):
        api.responses.create(
            model=MODEL, input="x", extra_headers={"Outlive-Conversation-Id": new_id()}
        )


def test_the_input_of_a_response_is_listed_in_pages(api: OpenAI, worker: Worker) -> None:
    one, two = saying("One"), saying("Two")
    first = api.responses.create(model=MODEL, input=one)
    second = api.responses.create(model=MODEL, input=two, previous_response_id=first.id)

    newest = list(api.responses.input_items.list(second.id, limit=2))
    oldest: Any = api.responses.input_items.list(second.id, order="asc", limit=2)

    assert [getattr(item, "role", "") for item in newest] == ["user", "assistant", "user"]
    assert oldest.data[0].content[0].text == one
    assert oldest.has_more
    assert oldest.data[1].id == first.output[0].id


def test_pages_of_a_long_input_are_bounded_in_both_orders(
    rig: Rig, web: Web, api: OpenAI, worker: Worker
) -> None:
    said = [{"role": ("user", "assistant")[n % 2], "content": new_id()} for n in range(12)]
    turns: Any = [*said, {"role": "user", "content": saying("One")}]
    response = api.responses.create(model=MODEL, input=turns)
    assert response.conversation is not None
    place = response.conversation.id.removeprefix("conv_")
    address = f"{web.url}/v1/responses/{response.id}/input_items"

    def pages(**params: Any) -> list[list[str]]:
        found: list[list[str]] = []
        while True:
            page = httpx2.get(address, params=params, timeout=PATIENCE).json()
            assert (page["first_id"], page["last_id"]) == (
                page["data"][0]["id"], page["data"][-1]["id"],
            )  # fmt: skip
            found.append([item["id"] for item in page["data"]])
            if not page["has_more"]:
                return found
            params["after"] = page["last_id"]

    [whole] = pages(order="asc")
    assert len(whole) == 13
    for limit in (3, 6, 13):
        for order, items in (("asc", whole), ("desc", whole[::-1])):
            cut = [items[begin : begin + limit] for begin in range(0, 13, limit)]
            assert pages(order=order, limit=limit) == cut

    with rig.db.transaction() as connection:
        run(connection, "SET LOCAL session_replication_role = replica")
        run(
            connection,
            "UPDATE messages SET length = 400000, body = jsonb_build_array(jsonb_build_object("
            "'kind', 'text', 'text', repeat('x', 400000), 'meta', NULL))"
            " WHERE conversation_id = :id AND id <> :answer",
            id=uuid.UUID(place),
            answer=uuid.UUID(response.id.removeprefix("resp_")),
        )
    for order, items in (("asc", whole), ("desc", whole[::-1])):
        found = pages(order=order, limit=100)
        assert max(map(len, found)) <= 3
        assert [item for page in found for item in page] == items
    for name in (new_id(), f"msg_{uuid.UUID(int=7).hex}", f"{whole[0]}_1", "", "x" * 500):
        wrong = httpx2.get(address, params={"after": name}, timeout=PATIENCE)
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "after")


def test_a_response_that_is_not_there_cannot_be_continued(api: OpenAI, worker: Worker) -> None:
    for name in ("resp_x", f"resp_{new_id()}"):
        with pytest.raises(openai.BadRequestError) as caught:
            api.responses.create(model=MODEL, input="x", previous_response_id=name)

        assert caught.value.code == "previous_response_not_found"
        with pytest.raises(openai.NotFoundError):
            api.responses.retrieve(name)


# --- cancelling, deleting -------------------------------------------------------------------------


def test_a_cancelled_answer_keeps_what_was_written(
    rig: Rig, api: OpenAI, client: Client, worker: Worker
) -> None:
    question = script(say("So far"), hold(NEVER), tag=new_id())
    begun = api.responses.create(model=MODEL, input=question, background=True)
    client.shown(begun.id.removeprefix("resp_"), 6)

    cancelled = api.responses.cancel(begun.id)
    again = api.responses.cancel(begun.id)

    assert (cancelled.status, cancelled.output_text) == ("cancelled", "So far")
    assert again == cancelled
    last = events(api.responses.retrieve(begun.id, stream=True))[-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "cancelled")


def test_a_deleted_response_is_gone_here_and_its_conversation_with_the_last(
    api: OpenAI, client: Client, worker: Worker
) -> None:
    first = api.responses.create(model=MODEL, input=saying("One"))
    second = api.responses.create(model=MODEL, input=saying("Two"), previous_response_id=first.id)
    assert first.conversation is not None
    place = f"/api/conversations/{first.conversation.id.removeprefix('conv_')}"

    api.responses.delete(first.id)

    with pytest.raises(openai.NotFoundError):
        api.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        api.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError):
        api.responses.create(model=MODEL, input="x", previous_response_id=first.id)
    assert api.responses.retrieve(second.id).output_text == "Two"
    assert client.http.get(place).status_code == 200
    api.responses.delete(second.id)
    assert client.http.get(place).status_code == 404


# --- ends, errors ---------------------------------------------------------------------------------


def test_an_answer_that_ended_at_its_limit_is_incomplete(api: OpenAI, worker: Worker) -> None:
    question = script(say("So"), finish("length"), done(), tag=new_id())

    answer = api.responses.create(model=MODEL, input=question)

    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_what_a_provider_refuses_is_a_status_or_a_failed_response(
    web: Web, api: OpenAI, worker: Worker
) -> None:
    for streams in (False, True):
        with pytest.raises(openai.AuthenticationError) as caught:
            api.responses.create(
                model=MODEL, input=script(wrong_key(), tag=new_id()), stream=streams
            )
        assert caught.value.code == "invalid_api_key"
        found = api.responses.retrieve(caught.value.response.headers["Outlive-Message-Id"])
        assert found.status == "failed"
        assert found.error is not None
        check_resource(get(web.url, found.id).json())
    begun = api.responses.create(
        model=MODEL, input=script(wrong_key(), tag=new_id()), background=True, stream=True
    )
    assert events(begun)[-1]["type"] == "response.failed"


def test_what_fails_in_the_middle_is_a_failed_response_with_its_partial(
    api: OpenAI, worker: Worker
) -> None:
    question = script(say("So far"), error_object(), tag=new_id())

    answer = api.responses.create(model=MODEL, input=question)
    streamed = events(api.responses.create(model=MODEL, input=question + " ", stream=True))

    assert (answer.status, answer.output_text) == ("failed", "So far")
    assert streamed[-1]["type"] == "response.failed"
    assert streamed[-1]["response"]["error"]["code"] == "provider_error"


def test_a_killed_worker_is_a_failed_response_with_what_was_shown(
    rig: Rig, api: OpenAI, worker: Worker
) -> None:
    question = script(say("So far"), hold(NEVER), tag=new_id())
    stream = api.responses.create(model=MODEL, input=question, background=True, stream=True)
    seen: list[dict[str, Any]] = []
    for event in stream:
        seen.append(event.to_dict())
        if text_of(seen) == {"response.output_text.delta": "So far"}:
            break
    worker.kill()
    sweep(rig, died=worker.boot)

    seen += events(stream)

    assert text_of(seen) == {"response.output_text.delta": "So far"}
    assert seen[-1]["type"] == "response.failed"
    assert seen[-1]["response"]["error"]["code"] == "worker_lost"
    [item] = api.responses.retrieve(seen[0]["response"]["id"]).output
    assert item.type == "message"
    assert (item.status, item.to_dict()["content"]) == (
        "incomplete",
        [{"type": "output_text", "text": "So far", "annotations": [], "logprobs": []}],
    )


def test_what_is_refused_is_named(web: Web, api: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        api.responses.create(model=MODEL, input="x", store=False)
    assert (caught.value.param, caught.value.code) == ("store", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError) as caught:
        api.responses.create(model=MODEL, input="x", extra_body={"odd": 1})
    assert (caught.value.param, caught.value.code) == ("odd", "unknown_parameter")
    for params in ({"odd": 1}, {"stream": "x"}, {"stream": "true", "starting_after": "-1"}):
        found = get(web.url, f"resp_{new_id()}", **params)
        assert found.status_code in (400, 404), found.text
        assert "error" in found.json()


def test_the_same_key_is_asked_once(rig: Rig, web: Web, api: OpenAI, worker: Worker) -> None:
    question = saying("Once.")
    key = {"Idempotency-Key": new_id()}
    sent: dict[str, Any] = {"model": MODEL, "input": question}

    keyed = [api.responses.create(**sent, extra_headers=key) for _ in range(2)]
    repeat = api.responses.create(**sent)
    joined = api.responses.create(**sent, extra_headers={"x-stainless-retry-count": "1"})

    assert keyed[0] == keyed[1]
    assert repeat.id == joined.id != keyed[0].id
    assert len(rig.scripted.requests(question)) == 2


def test_a_text_of_a_stream_is_json_of_ascii(web: Web, api: OpenAI, worker: Worker) -> None:
    answer = api.responses.create(model=MODEL, input=saying("Hello 😀\u2028"))

    reply = get(web.url, answer.id, stream="true")

    assert reply.content.isascii()
    data = [line[6:] for line in reply.text.split("\n") if line.startswith("data: ")]
    for one in data:
        check_event(json.loads(one))
    assert reply.headers["Outlive-Message-Id"] == answer.id.removeprefix("resp_")
