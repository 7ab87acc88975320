"""The scripted provider seen by the openai package, like any other endpoint."""

import time
import uuid
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

import scripted as s
from scripted.steps import Step


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with (
        s.start_scripted() as provider,
        openai.OpenAI(base_url=provider.url, api_key="a key", max_retries=0) as client,
    ):
        yield client


def asked(question: str) -> list[ChatCompletionMessageParam]:
    return [
        {"role": "user", "content": "an older question"},
        {"role": "assistant", "content": "an older answer"},
        {"role": "user", "content": question},
    ]


def chunks(client: openai.OpenAI, question: str) -> list[ChatCompletionChunk]:
    stream = client.chat.completions.create(
        model="scripted",
        messages=asked(question),
        stream=True,
        stream_options={"include_usage": True},
    )
    with stream:
        return list(stream)


def choices(stream: list[ChatCompletionChunk]) -> list[Any]:
    return [choice for chunk in stream for choice in chunk.choices if choice.index == 0]


def text_of(stream: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for choice in choices(stream))


def read(client: openai.OpenAI, *steps: Step, **manner: Any) -> str:
    return text_of(chunks(client, s.script(*steps, **manner)))


def test_a_plain_question_is_answered_as_expected(client: openai.OpenAI) -> None:
    stream = chunks(client, "How are you?")

    assert text_of(stream) == s.expected("How are you?").text
    assert [choice.finish_reason for choice in choices(stream)][-1] == "stop"
    assert stream[0].choices[0].delta.role == "assistant"
    assert stream[-1].usage is not None


@pytest.mark.parametrize(
    "steps",
    [
        [s.say("naïve 😀 \u2028 text", chunk=(1, 4), seed=2)],
        [s.say("😀😀", escaped=True, chunk=1)],
        [s.long(20_000, chunk=100)],
        [s.say("a"), s.comment(3), s.empty(4), s.noise(), s.pause(0.01), s.say("b")],
        [s.torn("Straße", at=228), s.torn("!", at=1)],
        [s.slow_headers(0.05), s.say("late")],
        [s.say("cut off"), s.finish("length", text=" here")],
        [s.data({"choices": []}), s.raw(b": nothing\n\n"), s.say("x")],
    ],
)
@pytest.mark.parametrize("manner", [{}, {"crlf": True, "space": False, "role": False, "size": 0}])
def test_every_good_stream_has_the_expected_text(
    client: openai.OpenAI, steps: list[Step], manner: dict[str, Any]
) -> None:
    question = s.script(*steps, s.finish(), s.usage(3, 4), s.done(), **manner)

    stream = chunks(client, question)

    assert text_of(stream) == s.expected(question).text
    assert stream[-1].usage is not None
    assert stream[-1].usage.total_tokens == 7


def test_reasoning_and_tool_calls_come_in_their_own_fields(client: openai.OpenAI) -> None:
    steps = [s.reasoning("Hm.", field="reasoning"), s.reasoning("So."), s.tool_call("i", "f", "{}")]

    deltas = [c.delta for c in choices(chunks(client, s.script(*steps, s.finish("tool_calls"))))]

    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert "".join(getattr(delta, "reasoning", "") for delta in deltas) == "Hm."
    assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == "So."
    assert (calls[0].id, calls[0].function.name) == ("i", "f")
    assert "".join(call.function.arguments for call in calls) == "{}"


def test_without_stream_the_answer_comes_whole_and_at_once(client: openai.OpenAI) -> None:
    question = s.script(s.hold("never"), s.pause(99), s.reasoning("Hm"), s.say("Yes"), s.done())

    answer = client.chat.completions.create(model="scripted", messages=asked(question))

    assert answer.choices[0].message.content == "Yes"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert [model.id for model in client.models.list()] == ["scripted", "scripted-large"]


@pytest.mark.parametrize(
    ("step", "error", "code"),
    [
        (s.wrong_key(), openai.AuthenticationError, "invalid_api_key"),
        (s.unknown_model(), openai.NotFoundError, "model_not_found"),
        (s.too_long(), openai.BadRequestError, "context_length_exceeded"),
        (s.refuse_option("stream_options"), openai.BadRequestError, "unsupported_parameter"),
        (s.rate_limited(), openai.RateLimitError, "rate_limit_exceeded"),
        (s.status(500, "oops"), openai.InternalServerError, None),
        (s.status(529, {"anything": 1}), openai.InternalServerError, None),
    ],
)
def test_http_errors_are_understood_by_the_openai_package(
    client: openai.OpenAI, step: Step, error: type[openai.APIStatusError], code: str | None
) -> None:
    with pytest.raises(error) as raised:
        read(client, step, s.say("never"))

    assert raised.value.code == code


def test_after_its_refusals_a_script_goes_on(client: openai.OpenAI) -> None:
    steps = [s.status(503, times=1), s.refuse(times=1), s.say("At last"), s.done()]
    tag = uuid.uuid4().hex

    with pytest.raises(openai.InternalServerError):
        read(client, *steps, tag=tag)
    with pytest.raises(openai.APIConnectionError):
        read(client, *steps, tag=tag)

    assert read(client, *steps, tag=tag) == "At last"
    assert read(client, *steps, tag=tag) == "At last"


def test_retry_after_has_both_forms(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as seconds:
        read(client, s.rate_limited(1.5))
    with pytest.raises(openai.RateLimitError) as date:
        read(client, s.rate_limited(60, as_date=True))

    until = parsedate_to_datetime(date.value.response.headers["retry-after"]).timestamp()
    assert seconds.value.response.headers["retry-after"] == "1.5"
    assert 50 < until - time.time() <= 60


def test_only_requests_with_the_option_are_refused(client: openai.OpenAI) -> None:
    question = s.script(s.refuse_option("stream_options"), s.say("Fine"), s.usage(), s.done())

    with client.chat.completions.create(model="m", messages=asked(question), stream=True) as stream:
        got = list(stream)

    assert text_of(got) == "Fine"
    assert not any(chunk.usage for chunk in got)


def test_an_error_in_the_stream_raises_an_api_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="had an error"):
        read(client, s.say("x"), s.error_object())
