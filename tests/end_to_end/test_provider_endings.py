"""Every way in which a provider can end, and how the answer ends then.

The file is long because it is one table. All of it is asked at once, of one worker; each ending is
then checked by itself.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

import scripted
from local import ports
from local.programs import Web, Worker
from scripted import (
    big_line,
    comment,
    cut,
    data,
    done,
    empty,
    end,
    error_object,
    finish,
    half_utf8,
    hold,
    long,
    malformed,
    noise,
    pause,
    rate_limited,
    raw,
    reasoning,
    refuse,
    refuse_option,
    say,
    script,
    start_scripted,
    status,
    too_long,
    tool_call,
    torn,
    unknown_model,
    usage,
    wrong_key,
)
from scripted.steps import Step
from shared.body import Body
from shared.errors import GenerationFailed
from shared.settings import Settings
from tests.client import Client
from tests.rig import Rig, eventually, killing
from tests.stories import NEVER, Stopwatch, only_request, start_worker, verified_end
from worker.provider import retries
from worker.provider.client import ChatRequest, Provider

REPORTED = {
    "prompt_tokens": 11,
    "completion_tokens": 22,
    "total_tokens": 33,
    "source": "reported",
}

#: Codes and their sentences, repeated here, because people read them: none changes unnoticed.
EMPTY = ("provider_empty", "The model gave no answer.")
CUT = ("provider_cut", "The connection to the model's provider broke before the end.")
ERROR = ("provider_error", "The model's provider reported an error while answering.")
MALFORMED = (
    "provider_malformed",
    "The model's provider sent data that cannot be understood.",
)
STALLED = ("provider_stalled", "The model's provider stopped sending.")
UNAVAILABLE = (
    "provider_unavailable",
    "The model's provider cannot be reached or is overloaded.",
)
DEADLINE = (
    "deadline",
    "This answer took longer than is allowed; what was written is kept.",
)


def rejected(sentence: str = "The model's provider refused the request.") -> tuple[str, str]:
    """The request itself was refused, for this reason."""
    return "provider_rejected", sentence


@dataclass(frozen=True)
class Ending:
    """What the provider does, and the answer that has to result."""

    name: str
    steps: tuple[Step, ...]
    #: the text of the answer; None: whatever the script says
    text: str | None = None
    #: code and sentence of an ERROR; None: it is DONE
    error: tuple[str, str] | None = None
    finish_reason: str | None = "stop"
    usage: dict[str, Any] | None = None
    requests: int = 1
    #: seconds between the first two requests, at least
    waits: float = 0
    #: kind and text of each part, where it is not one text
    parts: tuple[tuple[str, str], ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    manner: dict[str, Any] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """The script."""
        return script(*self.steps, tag=self.name, **self.manner)


WELL = (finish(), usage(), done())
HALF, ESCAPED_PAIR = "Half of it", "\U0001f600 and \U0001f469\u200d\U0001f467"
QUOTA = {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}


def bad(name: str, *steps: Step, error: tuple[str, str], text: str = HALF) -> Ending:
    """It fails after half of the answer."""
    return Ending(name, (say(HALF), *steps), text, error, None)


def refused(name: str, *steps: Step, error: tuple[str, str], **more: Any) -> Ending:
    """It is not answered at all."""
    return Ending(name, (*steps, say("Never said."), *WELL), "", error, None, **more)


def later(name: str, *steps: Step, waits: float = 0.2) -> Ending:
    """It is answered at the second try."""
    text = "At last."
    return Ending(name, (*steps, say(text), *WELL), text, None, "stop", REPORTED, 2, waits)


ENDINGS = [
    # --- the provider says that it is done
    Ending("stop", (say("All."), *WELL), "All.", usage=REPORTED),
    Ending(
        "length", (say(HALF), finish("length"), usage(), done()), HALF, None, "length", REPORTED
    ),
    Ending(
        "content filter",
        (say(HALF), finish("content_filter"), done()),
        HALF,
        None,
        "content_filter",
    ),
    Ending("nothing at all to say", (*WELL,), "", EMPTY, None),
    Ending("done without a reason", (say("All."), usage(), done()), "All.", usage=REPORTED),
    Ending("a reason and a plain end", (say("All."), finish(), end()), "All."),
    Ending("a reason, then a reset", (say("All."), finish(), cut()), "All."),
    Ending(
        "a reason, then a close in half a frame", (say("All."), finish(), cut(abort=False)), "All."
    ),
    Ending("no usage", (say("All."), finish(), done()), "All."),
    Ending(
        "usage late", (say("All."), finish(), pause(1), usage(), done()), "All.", usage=REPORTED
    ),
    Ending("usage never", (say("All."), finish(), hold(NEVER)), "All."),
    Ending(
        "usage first", (usage(always=True), say("All."), finish(), done()), "All.", usage=REPORTED
    ),
    Ending("done, then neither side closes", (say("All."), done(), hold(NEVER)), "All."),
    Ending(
        "text with the reason",
        (say("All"), finish(text="."), usage(), done()),
        "All.",
        usage=REPORTED,
    ),
    # --- unusual, but good
    Ending("CRLF", (say("a\nb"), *WELL), "a\nb", usage=REPORTED, manner={"crlf": True}),
    Ending(
        "no blank after data:",
        (say(" All."), *WELL),
        " All.",
        usage=REPORTED,
        manner={"space": False},
    ),
    Ending("named events", (say("All."), *WELL), "All.", usage=REPORTED, manner={"event": "chunk"}),
    Ending("no role chunk", (say("All."), *WELL), "All.", usage=REPORTED, manner={"role": False}),
    Ending(
        "comments and empty packets",
        (comment(9), say("Al"), empty(9), say("l."), *WELL),
        "All.",
        usage=REPORTED,
    ),
    Ending("a frame in two writes", (torn("A frame.", 300), *WELL), "A frame.", usage=REPORTED),
    Ending("an unrequested choice", (say("All."), noise(), *WELL), "All.", usage=REPORTED),
    Ending(
        "a refusal",
        (data({"choices": [{"index": 0, "delta": {"refusal": "I will not."}}]}), *WELL),
        "I will not.",
        usage=REPORTED,
    ),
    Ending(
        "surrogate pairs over two chunks",
        (say(ESCAPED_PAIR, chunk=1, split_pairs=True), *WELL),
        ESCAPED_PAIR,
        usage=REPORTED,
    ),
    Ending(
        "escaped pairs",
        (say(ESCAPED_PAIR, chunk=1, escaped=True), *WELL),
        ESCAPED_PAIR,
        usage=REPORTED,
    ),
    Ending(
        "half a pair",
        (say("a\ud83d"), say("b\ude00"), say("c\ud83d"), *WELL),
        "a\ufffdb\ufffdc\ufffd",
        usage=REPORTED,
    ),
    Ending("NUL", (say("a\0b", chunk=1), *WELL), "a\ufffdb", usage=REPORTED),
    Ending(
        "line ends of every kind",
        (say("a\rb\r\nc\u2028d\u2029e\x85f\x0bg\x1ch", chunk=1), *WELL),
        usage=REPORTED,
    ),
    Ending("200,000 characters", (long(200_000, chunk=(50, 400)), *WELL), usage=REPORTED),
    Ending(
        "reasoning under both names",
        (reasoning("Hm, "), reasoning("well.", field="reasoning"), say("All."), *WELL),
        "All.",
        usage=REPORTED,
        parts=(("reasoning", "Hm, well."), ("text", "All.")),
    ),
    Ending(
        "tool calls",
        (
            say("Let me look."),
            tool_call("c1", "look", '{"at": 1}'),
            tool_call("c2", "go", index=1),
            finish("tool_calls"),
            usage(),
            done(),
        ),
        "Let me look.",
        None,
        "tool_calls",
        REPORTED,
        parts=(("text", "Let me look."), ("tool_call", '{"at": 1}'), ("tool_call", "{}")),
    ),
    # --- it breaks off, or sends what cannot be understood
    bad("a plain end", end(), error=CUT),
    bad("a reset", cut(at=0), error=CUT),
    bad("a close in half a frame", cut(abort=False), error=CUT),
    bad("no JSON", malformed(), error=MALFORMED),
    bad("JSON, but no object", data([1, 2]), error=MALFORMED),
    bad("choices of another kind", data({"choices": "none"}), error=MALFORMED),
    bad("content of another kind", data({"choices": [{"delta": {"content": 1}}]}), error=MALFORMED),
    Ending(
        "half a UTF-8 character",
        (say(HALF), half_utf8(), *WELL),
        f"{HALF}half a euro: \ufffd",
        usage=REPORTED,
    ),
    bad("a line of 1.1 MB", big_line(), error=MALFORMED),
    bad("an error object", error_object(), error=ERROR),
    bad("an error as a string", error_object("overloaded"), error=ERROR),
    bad("a nested error object", error_object({"error": {"message": "deep"}}), error=ERROR),
    bad("event: error", raw(b'event: error\ndata: {"message": "overloaded"}\n\n'), error=ERROR),
    Ending("nonsense after [DONE]", (say("All."), done(), half_utf8()), "All."),
    bad("nonsense after the reason", finish(), malformed(), error=MALFORMED),
    bad("an error instead of an end", error_object(), *WELL, error=ERROR),
    Ending("a cut before any text", (cut(at=0),), "", CUT, None),
    Ending(
        "reasoning, then a cut",
        (reasoning("Hm."), cut(at=0)),
        "",
        CUT,
        None,
        parts=(("reasoning", "Hm."),),
    ),
    # --- it may answer later
    *(
        later(f"{code} once", status(code, times=1))
        for code in (408, 409, 429, 500, 501, 502, 503, 504, 520, 524, 529)
    ),
    later("429, Retry-After in seconds", rate_limited(retry_after=0.7, times=1), waits=0.7),
    later(
        "429, Retry-After as a date", rate_limited(retry_after=2, as_date=True, times=1), waits=0.8
    ),
    later(
        "503, a Retry-After that is no time", status(503, headers={"retry-after": "soon"}, times=1)
    ),
    later("hung up once", refuse(times=1)),
    refused("429, later than we wait", rate_limited(retry_after=61), error=UNAVAILABLE),
    refused(
        "503, as a date in two minutes",
        status(503, retry_after=120, as_date=True),
        error=UNAVAILABLE,
    ),
    # --- it never will
    refused("wrong key", wrong_key(), error=rejected("The model's provider refused the API key.")),
    refused("forbidden", status(403), error=rejected("The model's provider refused the API key.")),
    refused(
        "unknown model",
        unknown_model("scripted"),
        error=rejected("The model's provider does not know the model “scripted”."),
    ),
    refused("too long", too_long(), error=rejected("The conversation is too long for this model.")),
    refused(
        "too large", status(413), error=rejected("The conversation is too long for this model.")
    ),
    refused(
        "no quota",
        status(429, QUOTA),
        error=rejected("The quota at the model's provider is used up."),
    ),
    refused(
        "refused option",
        refuse_option("temperature"),
        error=rejected("The model's provider does not accept the option “temperature”."),
        options={"temperature": 0.5},
    ),
    refused("something else", status(400), error=rejected()),
    refused("something else, not even JSON", status(418, "<h1>teapot</h1>"), error=rejected()),
]


Asked = dict[str, str]


@pytest.fixture(scope="module")
def asked(rig: Rig, web: Web, worker_of_file: Worker) -> Asked:
    """Every question of the table, asked at once: name -> answer."""
    if not worker_of_file.alive():
        worker_of_file.start().wait()
    with Client(web.url) as client:
        return {
            one.name: client.ask(one.question, options=one.options, model="scripted")
            for one in ENDINGS
        }


@pytest.mark.failure(18, 19, 21, 22, 23, 33, 34, 35)
@pytest.mark.parametrize("one", ENDINGS, ids=lambda one: one.name)
def test_each_ending_of_a_provider_gives_its_status_text_and_error(
    rig: Rig, client: Client, asked: Asked, one: Ending
) -> None:
    answer = asked[one.name]

    reading = client.read(answer).to_end()

    message = client.message(answer)
    code, sentence = one.error or (None, None)
    assert verified_end(reading, message) == ("ERROR" if code else "DONE", code)
    assert (message["error"] or {}).get("message") == sentence
    expected = scripted.expected(one.question)
    assert message["text"] == (expected.text if one.text is None else one.text)
    parts = one.parts or ((("text", message["text"]),) if message["text"] else ())
    assert tuple((part["kind"], part["text"]) for part in message["parts"]) == parts
    assert message["finish_reason"] == one.finish_reason
    assert message["usage"] == (one.usage if one.error is None else _estimated(reading.text))
    records = rig.scripted.requests(contains=_tag(one))
    assert len(records) == one.requests
    if one.waits:
        assert records[1].came_at - records[0].came_at >= one.waits


def _tag(one: Ending) -> str:
    return f'"tag":"{one.name}"'


def _estimated(body: str) -> dict[str, Any] | None:
    return {"completion_tokens": -(-len(body) // 4), "source": "estimated"} if body else None


def test_a_tool_call_keeps_its_id_and_name(client: Client, asked: Asked) -> None:
    parts = client.ended(asked["tool calls"])["parts"]

    assert [part["meta"] for part in parts] == [
        None,
        {"id": "c1", "name": "look"},
        {"id": "c2", "name": "go"},
    ]


def test_usage_after_the_reason_is_waited_for_ten_seconds(
    rig: Rig, client: Client, asked: Asked
) -> None:
    client.ended(asked["usage never"])

    [record] = rig.scripted.wait_requests(1, contains='"tag":"usage never"', ended=True)

    assert 9.8 < record.quiet < 13


@pytest.mark.failure(21)
def test_a_frame_that_was_cut_adds_no_text_and_no_end(client: Client, worker: Worker) -> None:
    places = [0, 1, 5, 6, *range(7, 595, 49), 595, 597, 598, 599, scripted.FRAME_BYTES]
    answers = {
        at: client.ask(script(say(HALF), cut(" and more", at=at), tag=f"cut at {at}"))
        for at in places
    }

    for at, answer in answers.items():
        message = client.ended(answer)
        assert verified_end(client.read(answer).to_end(), message) == ("ERROR", "provider_cut")
        whole_frame = at == scripted.FRAME_BYTES
        assert message["text"] == (f"{HALF} and more" if whole_frame else HALF), at


# --- time limits ---------------------------------------------------------------------------------

FIRST, STALL, HARD = 1.0, 1.0, 3.0
#: Seconds for which a provider is asked again by default.
DEFAULT_BUDGET = retries.RETRY_BUDGET

#: name -> (steps, text, error, seconds after which it ends)
LIMITS: dict[str, tuple[tuple[Step, ...], str, tuple[str, str] | None, float]] = {
    "silence at first": ((hold(NEVER),), "", STALLED, FIRST),
    "no headers": ((scripted.slow_headers(hold=NEVER),), "", STALLED, FIRST),
    "only comments": ((comment(100, every=0.1),), "", STALLED, FIRST),
    "only empty packets": ((empty(100, every=0.1),), "", STALLED, FIRST),
    "silence after text": ((say(HALF), hold(NEVER)), HALF, STALLED, STALL),
    "comments after text": ((say(HALF), comment(100, every=0.1)), HALF, STALLED, STALL),
    "silence in a tool call": ((tool_call("c", "f", '{"a": 1'), hold(NEVER)), "", STALLED, STALL),
    "empty packets after text": ((say(HALF), empty(100, every=0.1)), HALF, STALLED, STALL),
    "slow, but never silent": (
        (say("0123456789", chunk=1, rate=5), finish(), done()),
        "0123456789",
        None,
        2.0,
    ),
    "a slow tool call": (
        (tool_call("c", "f", '{"a": "0123456789"}', chunk=1, rate=9), finish(), done()),
        "",
        None,
        2.0,
    ),
    "text without end": ((long(9000, rate=200),), "", DEADLINE, HARD),
}


@pytest.fixture(scope="module")
def impatient(rig: Rig, web: Web, worker_of_file: Worker) -> Asked:
    """Answers of a worker with short limits, ended: name -> answer."""
    worker_of_file.kill()
    limits = {
        "OUTLIVE_FIRST_TOKEN_SECONDS": str(FIRST),
        "OUTLIVE_STALL_SECONDS": str(STALL),
        "OUTLIVE_HARD_DEADLINE_SECONDS": str(HARD),
    }
    with killing(start_worker(rig, **limits).wait()), Client(web.url) as client:
        answers = {
            name: client.ask(script(*steps, tag=name)) for name, (steps, *_) in LIMITS.items()
        }
        for answer in answers.values():
            client.ended(answer)
    return answers


@pytest.mark.failure(20)
@pytest.mark.parametrize("name", LIMITS)
def test_a_silent_or_endless_provider_reaches_its_time_limit(
    rig: Rig, client: Client, impatient: Asked, name: str
) -> None:
    steps, text, error, seconds = LIMITS[name]
    reading = client.read(impatient[name]).to_end()

    message = client.message(impatient[name])
    code, sentence = error or (None, None)
    assert verified_end(reading, message) == ("ERROR" if code else "DONE", code)
    assert (message["error"] or {}).get("message") == sentence
    if name == "text without end":
        assert scripted.expected(script(*steps)).text.startswith(message["text"])
        assert len(message["text"]) > 200
    else:
        assert message["text"] == text
    assert message["usage"] == (_estimated(reading.text) if code else None)
    [record] = rig.scripted.wait_requests(1, contains=f'"tag":"{name}"', ended=True)
    assert record.closed_at is not None
    assert record.closed_at - record.came_at > seconds - 0.3
    assert record.ended == ("client_closed" if code else "whole")


# --- the connection, and what the provider does not know ------------------------------------------


def test_a_provider_that_refuses_connections_is_retried(
    rig: Rig, no_workers: None, client: Client
) -> None:
    port = ports.choose()
    url = f"http://127.0.0.1:{port}/v1"
    with killing(start_worker(rig, OPENAI_BASE_URL=url, OUTLIVE_STALL_SECONDS="29").wait()):
        # given
        refusals = rig.logs().count('"event": "provider.retry"')
        answer = client.ask(script(say("Here I am."), *WELL))
        eventually(lambda: rig.logs().count('"event": "provider.retry"') > refusals)

        # when
        with start_scripted(port):
            # then
            reading = client.read(answer).to_end()

    assert verified_end(reading, client.message(answer)) == ("DONE", None)
    assert reading.text == "Here I am."


def test_stream_options_are_left_out_once_a_provider_refused_them(
    rig: Rig, no_workers: None, client: Client
) -> None:
    questions = [
        script(refuse_option("stream_options"), say("All."), *WELL, tag=f"old {n}")
        for n in range(2)
    ]
    with killing(start_worker(rig).wait()):
        messages = [client.ended(client.ask(question)) for question in questions]

    for message in messages:
        assert (message["status"], message["text"], message["usage"]) == ("DONE", "All.", None)
    first, second, third = rig.scripted.requests(contains='"tag":"old ')
    options = [(one.request or {}).get("stream_options") for one in (first, second, third)]
    assert options == [{"include_usage": True}, None, None]  # and it is not asked again


@pytest.mark.failure(18)
def test_retries_end_with_the_retry_budget(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "RETRY_BUDGET", 2.0)
    monkeypatch.setattr(retries, "BACKOFF", 0.1)
    asks = Provider(Settings.model_validate({"OPENAI_BASE_URL": rig.scripted.url}))
    question = script(status(503), tag="never again")
    turns = [{"role": "user", "content": question}]
    watch = Stopwatch()

    with pytest.raises(GenerationFailed) as failure:
        asks.stream(ChatRequest("scripted", turns, {}), Body().write)

    assert failure.value.code == "provider_unavailable"
    assert watch.seconds < DEFAULT_BUDGET
    times = [record.came_at for record in rig.scripted.requests(contains=question)]
    pauses = [after - before for before, after in pairwise(times)]
    assert 3 <= len(pauses) <= 6
    assert all(0.04 * 2**n < pause < 0.2 * 2**n + 0.3 for n, pause in enumerate(pauses))


def test_the_text_of_a_providers_error_is_neither_stored_nor_logged(
    rig: Rig, client: Client, worker: Worker
) -> None:
    canary = "canary-7d21 sk-secret"
    question = script(status(400, {"error": {"message": canary}}), tag="talkative")

    answer = client.ask(question)

    assert canary not in str(client.ended(answer))
    assert only_request(rig, question).status == 400
    assert canary not in rig.logs()
