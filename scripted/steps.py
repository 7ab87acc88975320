"""The steps of a script, a small language: each returns its JSON. Pure.

The names are those that scripts are written with: `say`, `pause`, `hold`, `cut`, `finish`, `done`.
"""

import base64
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

Step = dict[str, Any]
Chunk = int | Sequence[int]  #: characters in a frame, or the least and the most of them
P = ParamSpec("P")

#: What `status(when=...)` may name besides an option: requests for a stream, with a system turn, or
#: with two turns of one role in a row.
REQUESTS = ("streamed", "system", "repeated")

STEPS: dict[str, Callable[..., Step]] = {}


def _step(function: Callable[P, Step]) -> Callable[P, Step]:
    """Register a step under its name, and write the name into what it returns."""

    @wraps(function)
    def named(*args: P.args, **kwargs: P.kwargs) -> Step:
        return {"do": function.__name__, **function(*args, **kwargs)}

    STEPS[function.__name__] = named
    return named


# --- text ---------------------------------------------------------------------------------------


@_step
def say(
    text: str,
    *,
    chunk: Chunk = 5,
    rate: float | None = None,
    seed: int = 0,
    escaped: bool = False,
    split_pairs: bool = False,
) -> Step:
    """Text, `rate` characters a second (None: without pauses).

    `escaped` writes JSON's \\u escapes instead of UTF-8; `split_pairs` counts `chunk` in UTF-16
    units, so that a surrogate pair may be cut in two. Lone surrogates are always escaped.
    """
    manner = {"escaped": escaped, "split_pairs": split_pairs}
    return {"text": text, "chunk": chunk, "rate": rate, "seed": seed, **manner}


@_step
def long(characters: int, *, rate: float | None = None, chunk: Chunk = 5, seed: int = 0) -> Step:
    """Generated text: `generated(characters, seed)`."""
    return {"characters": characters, "rate": rate, "chunk": chunk, "seed": seed}


@_step
def hostile(
    characters: int,
    *,
    kind: str = "text",
    rate: float | None = None,
    chunk: Chunk = 5,
    seed: int = 0,
) -> Step:
    """Text or reasoning of everything that ever broke a stream: `answers.hostile(…, seed)`.

    `chunk` counts UTF-16 units, so that pairs are cut in two.
    """
    manner = {"rate": rate, "chunk": chunk, "seed": seed}
    return {"characters": characters, "kind": kind, **manner}


@_step
def reasoning(
    text: str,
    *,
    field: str = "reasoning_content",
    chunk: Chunk = 5,
    rate: float | None = None,
    seed: int = 0,
) -> Step:
    """Reasoning, in one of the two fields that providers use (the other is `reasoning`)."""
    return {"text": text, "field": field, "chunk": chunk, "rate": rate, "seed": seed}


@_step
def tool_call(
    call_id: str,
    name: str,
    arguments: str = "",
    *,
    index: int = 0,
    chunk: Chunk = 5,
    rate: float | None = None,
) -> Step:
    """A tool call: a frame with id and name, then its arguments piece by piece."""
    call = {"call_id": call_id, "name": name, "arguments": arguments, "index": index}
    return {**call, "chunk": chunk, "rate": rate}


@_step
def noise(text: str = "another choice", index: int = 1) -> Step:
    """Text of another choice, which was not asked for."""
    return {"text": text, "index": index}


@_step
def torn(text: str, at: int, seconds: float = 0.01) -> Step:
    """One good frame in two writes, cut at byte `at` of it."""
    return {"text": text, "at": at, "seconds": seconds}


# --- time ---------------------------------------------------------------------------------------


@_step
def pause(seconds: float) -> Step:
    """Send nothing for some seconds."""
    return {"seconds": seconds}


@_step
def hold(name: str) -> Step:
    """Send nothing until `name` is released: it waits for an event, not for a time."""
    return {"name": name}


@_step
def comment(count: int = 1, *, text: str = "keep-alive", every: float = 0.0) -> Step:
    """SSE comments, one in `every` seconds."""
    return {"count": count, "text": text, "every": every}


@_step
def empty(count: int = 1, *, every: float = 0.0) -> Step:
    """Frames without text: an empty delta and `content: ""` in turn."""
    return {"count": count, "every": every}


# --- ends ---------------------------------------------------------------------------------------


@_step
def role() -> Step:
    """The role chunk; a script begins with one unless it is left out."""
    return {}


@_step
def finish(reason: str = "stop", text: str = "") -> Step:
    """The finish reason: stop, length, content_filter, tool_calls; perhaps with the last text."""
    return {"reason": reason, "text": text}


@_step
def usage(prompt: int = 11, completion: int = 22, always: bool = False) -> Step:
    """The usage chunk, if the request included it (or `always`)."""
    return {"prompt": prompt, "completion": completion, "always": always}


@_step
def done() -> Step:
    """`[DONE]`; as the last step it goes out in one write with the end of the body."""
    return {}


@_step
def end() -> Step:
    """The end of the body, without a frame."""
    return {}


@_step
def cut(text: str = "cut short", *, at: int | None = None, abort: bool = True) -> Step:
    """Stop after byte `at` of a frame with `text` (None: its middle) and reset the connection.

    Without `abort` the connection is closed in order; the body is incomplete all the same.
    """
    return {"text": text, "at": at, "abort": abort}


# --- bad data -----------------------------------------------------------------------------------


@_step
def raw(data: bytes | str) -> Step:
    """These bytes as they are (a str is their base64)."""
    return {"data": data if isinstance(data, str) else base64.b64encode(data).decode()}


@_step
def data(value: Any) -> Step:
    """A frame with this JSON."""
    return {"value": value}


@_step
def malformed(line: str = '{"choices": [{"delta": {"content": "Hel') -> Step:
    """A frame whose data is no JSON."""
    return {"line": line}


@_step
def half_utf8() -> Step:
    """A frame with half a UTF-8 character inside."""
    return {}


@_step
def big_line(size: int = 1_100_000) -> Step:
    """A frame of good JSON whose line is `size` bytes long."""
    return {"size": size}


@_step
def image(size: int = 1_600_000) -> Step:
    """An image of `size` characters, in one line of good JSON."""
    return {"size": size}


@_step
def error_object(error: Any = None) -> Step:
    """An error in the stream: an object like OpenAI's, any other object, or a string."""
    usual = {"message": "The server had an error", "type": "server_error", "code": None}
    return {"error": usual if error is None else error}


@_step
def mutated(seed: int) -> Step:
    """The whole reply, broken: the stream of this number (see mutations.py)."""
    return {"seed": seed}


# --- answers other than 200: these come before the first of the others ---------------------------


@_step
def status(
    code: int,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    retry_after: float | None = None,
    as_date: bool = False,
    times: int | None = None,
    key: str = "",
    when: str = "",
) -> Step:
    """This HTTP answer for the first `times` requests (None: always), then the next step.

    Counted for this exact question, or over all questions with the same `key`. `when`: only for
    requests with this option, or that are one of REQUESTS. A code of 200 answers with any body.
    """
    answer = {"code": code, "body": body, "headers": headers, "times": times, "key": key}
    return {**answer, "retry_after": retry_after, "as_date": as_date, "when": when}


@_step
def refuse(times: int | None = None, *, key: str = "") -> Step:
    """Close the connection without an answer."""
    return {"times": times, "key": key}


@_step
def refuse_option(name: str, times: int | None = None, *, key: str = "") -> Step:
    """400 to a request that has this option."""
    return {"name": name, "times": times, "key": key}


@_step
def slow_headers(seconds: float = 0.0, hold: str = "") -> Step:
    """Wait some seconds before the status line, and until `hold` is released."""
    return {"seconds": seconds, "hold": hold}
