"""What real providers were seen to do, and how each answer has to end. Pure data.

A question `{"case": "stop in every chunk"}` is played as the case of this name; `question(name)`
writes it. The cases come from public reports about OpenAI-compatible servers and gateways,
shortened; docs/scripted-provider.md says how to add one.

The file is longer than others because it is one table, which is read from top to bottom.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from scripted.question import NAMED, script
from scripted.refusals import error_body
from scripted.steps import (
    Step,
    data,
    done,
    end,
    finish,
    image,
    pause,
    raw,
    reasoning,
    say,
    status,
    tool_call,
    usage,
)

TEXT: Final = "The whole good text of the answer."
HALF: Final = "The whole good text"
THOUGHT: Final = "Let me think."
WELL: Final = (finish(), usage(), done())
#: What `usage()` counts, as the service stores it.
USAGE: Final = {
    "prompt_tokens": 11,
    "completion_tokens": 22,
    "total_tokens": 33,
    "source": "reported",
}
SSE: Final = {"content-type": "text/event-stream"}
HTML: Final = {"content-type": "text/html"}


@dataclass(frozen=True)
class Case:
    """What a provider does, and the answer that has to result."""

    name: str
    steps: tuple[Step, ...]
    #: the text of the answer, and its parts where it is not that text alone
    text: str = TEXT
    parts: tuple[tuple[str, str], ...] | None = None
    #: the code of an ERROR, and a part of its sentence; "": it is DONE
    error: str = ""
    says: str = ""
    finish_reason: str | None = "stop"
    usage: dict[str, Any] | None = None
    #: how many requests the provider gets
    requests: int = 1
    #: of the question: options of the request
    options: dict[str, Any] = field(default_factory=dict)
    manner: dict[str, Any] = field(default_factory=dict)


def question(name: str) -> str:
    """The question that is answered as this case says."""
    return json.dumps({"case": name})


def choice(delta: Any, reason: Any = None, **more: Any) -> Step:
    """A chunk with this delta."""
    return data({"choices": [{"index": 0, "delta": delta, "finish_reason": reason, **more}]})


def words(text: str = TEXT) -> list[str]:
    """A text in pieces."""
    return [f"{word} " for word in text.split(" ")[:-1]] + text.split(" ")[-1:]


def event(text: str) -> Step:
    """These lines as they are, and the blank one that ends an event."""
    return raw(f"{text}\n\n".encode())


# --- 1. ends that are not ends, and unusual ones --------------------------------------------------


def _every_chunk(reason: str, last: tuple[Step, ...], seconds: float = 1.0) -> tuple[Step, ...]:
    chunks = [choice({"content": word}, reason) for word in words("One two three four five six")]
    return (*(step for chunk in chunks for step in (chunk, pause(seconds))), *last)


SIX = "One two three four five six"


def _ends() -> Iterator[Case]:
    yield Case("stop in every chunk", _every_chunk("stop", (done(),)), SIX)
    yield Case("stop in every chunk, no [DONE]", _every_chunk("stop", (end(),)), SIX)
    yield Case("the word null in every chunk", _every_chunk("null", (*WELL,)), SIX, usage=USAGE)
    for word in ("None", "none", "", "FINISH_REASON_UNSPECIFIED"):
        reason = _every_chunk(word, WELL, 0.01)
        yield Case(f"no reason: {word!r} in every chunk", reason, SIX, usage=USAGE)
    first = choice({"role": "assistant", "content": ""}, "stop")
    yield Case("stop first, the text later", (first, pause(4), say(TEXT), *WELL), usage=USAGE)
    yield Case(
        "stop, more text, [DONE]", (say(HALF), finish(), pause(3), say(TEXT[len(HALF) :]), done())
    )
    yield Case(
        "stop, more text, and a cut",
        (say(HALF), finish(), pause(1), say(TEXT[len(HALF) :]), end()),
        error="provider_cut",
        finish_reason=None,
    )
    yield Case("usage 3 s late", (say(TEXT), finish(), pause(3), usage(), done()), usage=USAGE)
    yield Case(
        "length, then stop", (say(TEXT), finish("length"), finish(), done()), finish_reason="length"
    )
    for stored, spellings in {
        "stop": "stop eos end_turn eos_token COMPLETE STOP stop_sequence",
        "tool_calls": "tool_call tool_calls tool_use",
        "length": "length max_tokens model_length MAX_TOKENS max_output_tokens token-limit",
        "content_filter": "content_filter sensitive refusal SAFETY RECITATION guardrail_intervened",
        "something_new": "something_new",
    }.items():
        for spelling in spellings.split():
            steps = (say(TEXT), finish(spelling), done())
            yield Case(f"reason {spelling}", steps, finish_reason=stored)
    for word in ("error", "abort", "insufficient_system_resource", "cancelled", "network_error"):
        steps = (say(HALF), finish(word), done())
        yield Case(f"reason {word}", steps, HALF, error="provider_error", finish_reason=None)
    whole = {"object": "chat.completion", "choices": [_message(TEXT)]}
    yield Case("a whole message in an event", (data(whole), done()))
    yield Case("a whole message in an event, no [DONE]", (data(whole), end()))
    yield Case("a message after its text", (say(TEXT), data(whole), done()))
    for name, error in {
        "an object": '{"code":500,"message":"The server failed"}',
        "words": "Internal Server Error",
    }.items():
        line = event(f"error: {error}")
        failed: dict[str, Any] = {"error": "provider_error", "finish_reason": None}
        yield Case(f"a field named error with {name}", (line, done()), "", **failed)
        yield Case(
            f"a field named error with {name}, after text",
            (say(HALF), line, done()),
            HALF,
            **failed,
        )
    none: dict[str, Any] = {"error": "provider_empty", "says": "no answer", "finish_reason": None}
    yield Case("[DONE] and nothing else", (done(),), "", manner={"role": False}, **none)
    yield Case("a role, stop and no text", WELL, "", **none)
    yield Case("blanks, and stop", (say(" \n"), *WELL), " \n", **none)
    yield Case("only thoughts", (reasoning(THOUGHT), *WELL), "", (("reasoning", THOUGHT),), **none)
    yield Case(
        "only thoughts, to the length limit",
        (reasoning(THOUGHT), finish("length"), usage(), done()),
        "",
        (("reasoning", THOUGHT),),
        finish_reason="length",
        usage=USAGE,
    )


def _message(content: Any, reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **more}
    return {"index": 0, "message": message, "finish_reason": reason}


# --- 2. a 200 that is no event stream -------------------------------------------------------------


def _documents() -> Iterator[Case]:
    counts = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}
    whole = {"object": "chat.completion", "choices": [_message(TEXT)], "usage": counts}
    yield Case("the whole answer as JSON", (status(200, whole),), usage=USAGE)
    yield Case("the whole answer as JSON, called a stream", (status(200, whole, headers=SSE),),
               usage=USAGE)  # fmt: skip
    indented = "\n" + json.dumps(whole, indent=2)
    yield Case("the whole answer as JSON of many lines", (status(200, indented),), usage=USAGE)
    cut_off = {**whole, "choices": [_message(TEXT, "max_tokens")]}
    yield Case("the whole answer as JSON, cut off", (status(200, cut_off),), finish_reason="length",
               usage=USAGE)  # fmt: skip
    thought = {"choices": [_message(TEXT, reasoning_content=THOUGHT)]}
    parts = (("reasoning", THOUGHT), ("text", TEXT))
    yield Case("the whole answer as JSON, with thoughts", (status(200, thought),), TEXT, parts)
    lines = "".join(
        json.dumps({"choices": [{"delta": {"content": word}, "finish_reason": None}]}) + "\n"
        for word in words()
    )
    last = json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    yield Case("a line of JSON for each chunk", (status(200, lines + last),))
    failed: dict[str, Any] = {"error": "provider_error", "finish_reason": None}
    for name, body in {
        "an error object": error_body("The server failed", "server_error"),
        "an error in a list": [{"error": {"code": 400, "message": "Something is wrong"}}],
        "a detail": {"detail": "Something is wrong"},
        "an object named error": {
            "object": "error",
            "message": "Something is wrong",
            "code": 40301,
        },
    }.items():
        yield Case(f"JSON with {name}", (status(200, body),), "", **failed)
    for name, chunk in {
        "success: false": {"success": False, "msg": "Something is wrong"},
        "a status in base_resp": {"base_resp": {"status_code": 1013, "status_msg": "failed"}},
        "a detail": {"detail": "Something is wrong"},
        "an error code": {"error_code": 336000, "error_msg": "Internal error"},
    }.items():
        yield Case(f"an event with {name}", (data(chunk), done()), "", **failed)
        yield Case(f"an event with {name}, after text", (say(HALF), data(chunk), done()), HALF,
                   **failed)  # fmt: skip
    page = "<!DOCTYPE html><html><body>Welcome to our network</body></html>"
    web_page: dict[str, Any] = {
        "error": "provider_malformed",
        "says": "OPENAI_BASE_URL",
        "finish_reason": None,
    }
    yield Case("a web page", (status(200, page, headers=HTML),), "", **web_page)
    yield Case(
        "a web page, called a stream", (status(200, f"\n{page}", headers=SSE),), "", **web_page
    )


# --- 3. lines and values of another shape ---------------------------------------------------------


def _shapes() -> Iterator[Case]:
    well: dict[str, Any] = {"usage": USAGE}
    both = (("reasoning", THOUGHT), ("text", TEXT))
    for name, line in {"a blank": "data: ", "nothing": "data:", "no colon": "data"}.items():
        steps = (say(HALF), event(line), say(TEXT[len(HALF) :]), event(line), *WELL)
        yield Case(f"data with {name} after it", steps, **well)
    ping = (event("event: ping\ndata: {}"), event("data: null"))
    yield Case("pings", (*ping, say(HALF), *ping, say(TEXT[len(HALF) :]), *WELL), **well)
    text = {"type": "text", "text": TEXT}
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": THOUGHT}]}
    shapes: dict[str, tuple[Any, ...]] = {
        "a list with a thought, then text": ([thinking], TEXT),
        "a list with a summary and text": ([summary, text],),
        "a thought as text": ([{"type": "thinking", "thinking": THOUGHT}], [text]),
        "nested lists": ([[[thinking]], [[text]]],),
        "one part, not in a list": (thinking, text),
        "marked as a thought": ([{"text": THOUGHT, "thought": True}, {"text": TEXT}],),
    }
    for name, contents in shapes.items():
        chunks = [choice({"content": content}) for content in contents]
        yield Case(f"content: {name}", (*chunks, *WELL), parts=both, **well)
    strings = choice({"content": [HALF, TEXT[len(HALF) :]]})
    yield Case("content: a list of strings", (strings, *WELL), **well)
    twice = {"reasoning": THOUGHT, "reasoning_content": THOUGHT}
    yield Case("one thought under two names", (choice(twice), say(TEXT), *WELL), parts=both, **well)
    detailed = {"reasoning": THOUGHT,
                "reasoning_details": [{"type": "reasoning.text", "text": THOUGHT}]}  # fmt: skip
    yield Case(
        "a thought and its details", (choice(detailed), say(TEXT), *WELL), parts=both, **well
    )
    left: dict[str, Any] = {"usage": {**USAGE, "left_out": {"images": 1}}}
    yield Case("an image of 1.6 MB", (image(), say(TEXT), *WELL), **left)
    yield Case("an image after text", (say(TEXT), image(), *WELL), **left)
    calls = (("tool_call", '{"a": 1}'), ("tool_call", '{"b": 2}'))
    yield Case(
        "two calls with one index",
        (
            tool_call("c1", "f", '{"a": 1}'),
            tool_call("c2", "g", '{"b": 2}'),
            finish("tool_calls"),
            usage(),
            done(),
        ),
        "",
        calls,
        finish_reason="tool_calls",
        **well,
    )
    function = {"name": "f", "arguments": {"city": "Rome", "days": [1, 2]}}
    call = choice({"tool_calls": [{"index": 0, "id": "c", "function": function}]})
    arguments = (("tool_call", '{"city": "Rome", "days": [1, 2]}'),)
    yield Case("a call whose arguments are an object", (call, finish("tool_calls"), done()), "",
               arguments, finish_reason="tool_calls")  # fmt: skip
    counts = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}
    yield Case("usage in the choice", (say(TEXT), choice({}, "stop", usage=counts), done()), **well)
    for size in (1, 3, 100):
        tagged = say(f"<think>{THOUGHT}</think>{TEXT}", chunk=size)
        yield Case(f"thoughts in tags, {size} a chunk", (tagged, *WELL), parts=both, **well)
    lines = say(f"\n<think>\n{THOUGHT}</think>\n\n{TEXT}", chunk=3)
    parts = (("reasoning", f"\n{THOUGHT}"), ("text", TEXT))
    yield Case("thoughts in tags on lines of their own", (lines, *WELL), parts=parts, **well)
    later = f"A tag: <think>{TEXT}</think>"
    yield Case("a tag that does not begin the answer", (say(later), *WELL), later, **well)
    tab = event('data: {"choices":[{"index":0,"delta":{"content":"a\tb"}}]}')
    yield Case("a raw tab in a string", (tab, *WELL), "a\tb", **well)
    byte = raw(b'data: {"choices":[{"index":0,"delta":{"content":"a\xffb"}}]}\n\n')
    yield Case("a byte that is no UTF-8", (byte, *WELL), "a\ufffdb", **well)
    joined = raw(b'data: {"choices":[{"delta":{"content":"a"}}]}\n'
                 b'data: {"choices":[{"delta":{"content":"b"}}]}\n\n')  # fmt: skip
    yield Case("two chunks in one event", (joined, *WELL), "ab", **well)


# --- 4. refusals ----------------------------------------------------------------------------------


def _refused(name: str, code: int, body: Any, says: str, **more: Any) -> Case:
    steps = (status(code, body, **more), say("Never said."), *WELL)
    return Case(name, steps, "", error="provider_rejected", says=says, finish_reason=None)


def _again(name: str, *steps: Step, **more: Any) -> Case:
    expected: dict[str, Any] = {"requests": 2, "usage": USAGE, **more}
    return Case(name, (*steps, say(TEXT), *WELL), **expected)


def _refusals() -> Iterator[Case]:
    body = error_body
    yield _refused("402 balance", 402, body("Insufficient Balance", "unknown_error"), "balance")
    quota = body("Your account is not active, please check your account balance.",
                 "exceeded_current_quota_error")  # fmt: skip
    yield _refused("429 quota", 429, quota, "quota")
    invalid = {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.",
                         "details": [{"reason": "API_KEY_INVALID"}]}}  # fmt: skip
    yield _refused("400 key", 400, invalid, "API key")
    yield _refused("400 model", 400, body("Model Not Exist"), "the model “scripted”")
    country = body("Country, region, or territory not supported",
                   "request_forbidden", "unsupported_country_region_territory")  # fmt: skip
    yield _refused("403 country", 403, country, "country")
    page = "<html><head><title>403 Forbidden</title></head><body>cloudflare</body></html>"
    yield _refused("403 with a page", 403, page, "web page", headers=HTML)
    yield _refused("404 with a page", 404, "<html>Not Found</html>", "address", headers=HTML)
    yield _refused("404 with a detail", 404, {"detail": "Not Found"}, "address")
    for number, sentence in enumerate(
        (
            "The input token count (1200000) exceeds the maximum number of tokens (1048576).",
            "The prompt is longer than the model's context, 40000 tokens against 32768.",
            "Range of input length should be [1, 30720]",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
            "prompt is too long: 213462 tokens > 199999 maximum",
        )
    ):
        yield _refused(f"400 too long, in words {number}", 400, body(sentence), "too long")
    filtered = body("The response was filtered due to the prompt triggering our content management"
                    " policy.", code="content_filter", param="prompt")  # fmt: skip
    yield _refused("400 filtered", 400, filtered, "content filter")
    channel = body("No available channel for model scripted under group default", "new_api_error")
    yield _refused("503 no channel", 503, channel, "no place to run the model “scripted”")
    memory = body("model requires more system memory (5.6 GiB) than is available (3.2 GiB)")
    yield _refused("500 memory", 500, memory, "not enough memory")
    unverified = body("Your organization must be verified to stream this model.",
                      code="unsupported_value", param="stream")  # fmt: skip
    yield _again("a stream refused", status(400, unverified, when="streamed"))
    for code in (409, 520, 524, 501):
        once = status(code, "<html>An error</html>", headers=HTML, times=1)
        yield _again(f"{code} once", once)
    for name, error in {
        "a limit": error_body("Rate limit reached", "requests", "rate_limit_exceeded"),
        "a code of 429": {"error": {"code": 429, "message": "Provider returned error"}},
        "an overload": error_body("The engine is currently overloaded", "engine_overloaded_error"),
    }.items():
        once = status(200, f"data: {json.dumps(error)}\n\n", headers=SSE, times=1)
        yield _again(f"200, then {name}", once)
    long = {"error": {"code": 400, "message": "maximum context length is 8192 tokens"}}
    in_stream = (data(long), done())
    yield Case("200, then too long", in_stream, "", error="provider_rejected", says="too long",
               finish_reason=None)  # fmt: skip
    at_once = status(429, retry_after=0, times=3)
    yield _again("429 with Retry-After: 0", at_once, requests=4)


# --- 5. what goes out -----------------------------------------------------------------------------


def _requests() -> Iterator[Case]:
    for name, code, error in (
        ("400", 400, error_body("Extra inputs are not permitted")),
        (
            "422",
            422,
            {"detail": [{"type": "extra_forbidden", "msg": "Extra inputs are not permitted"}]},
        ),
    ):
        refused = status(code, error, when="stream_options")
        yield Case(f"{name}, extra inputs", (refused, say(TEXT), *WELL), requests=2)


CASES: Final = {
    case.name: case
    for cases in (_ends(), _documents(), _shapes(), _refusals(), _requests())
    for case in cases
}
NAMED.update({name: script(*case.steps, tag=name, **case.manner) for name, case in CASES.items()})
