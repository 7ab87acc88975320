"""The provider: one OpenAI-compatible HTTP endpoint, asked through the openai package.

The package makes the request; the stream is read raw, because an SDK object per chunk costs ten
times as much. Nothing of what a provider says in an error is kept or logged (it may quote the
prompt or the key): it is told by status and code, in our own sentences.
"""

import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import gevent
import httpx2
import openai
import structlog

from shared.errors import GenerationFailed
from shared.settings import Settings
from shared.sse import Decoder, LineTooLong
from worker import metrics
from worker.generation import TooLong
from worker.prompt import Turn
from worker.reply import Reply, Write, usage_of
from worker.transport import Transport, is_direct

#: Seconds that all tries together may wait for a provider that is not there or overloaded.
RETRY_BUDGET: Final = 60.0
#: Seconds to connect, and the first pause between tries; it doubles.
CONNECT_TIMEOUT: Final = 10.0
BACKOFF: Final = 0.5
#: Seconds after the finish reason in which the usage may come, and after [DONE] the body's end.
USAGE_GRACE: Final = 2.0
DONE_GRACE: Final = 0.5
#: Bytes of one line of a stream, and of an answer that is to be short.
LINE_LIMIT: Final = 1 << 20
SHORT_LIMIT: Final = 1 << 16

_RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504, 529})

log = structlog.get_logger("provider")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. `options` were checked against the allow-list when the question came."""

    model: str
    turns: Sequence[Turn]
    options: Mapping[str, Any]


class Retry(Exception):
    """The provider may answer later; `after` seconds if it said so."""

    def __init__(self, status: int | None, after: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.after = after


class Provider:
    """A client of the configured endpoint; one for the process, as building one is dear."""

    def __init__(self, settings: Settings) -> None:
        timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT)
        direct = Transport() if is_direct() else None
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        client = openai.OpenAI(
            base_url=settings.openai_base_url,
            api_key=settings.openai_api_key or "none",
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultHttpxClient(limits=limits, timeout=timeout, transport=direct),
        )
        #: found now, because looking for it loads half of the package
        self._create: Any = client.chat.completions.with_streaming_response.create
        self._limit = settings.answer_chars
        self._asks_usage = True

    def stream(self, request: Request, write: Write) -> Reply:
        """Write the answer as it comes; returns when the provider has said that it is done.

        Raises GenerationFailed for every other end. Blocks without limit of its own: whoever
        calls interrupts it when it is too slow.
        """
        with self._open(request) as response:
            reply = Reply(write, self._limit)
            try:
                _read(response, reply)
            except BaseException:
                with suppress(TooLong):  # how it ends is known, whether its rest has room or not
                    reply.close()
                raise
            reply.close()
            return reply

    def complete(
        self, request: Request, max_tokens: int, seconds: float
    ) -> tuple[str, dict[str, Any] | None]:
        """A short answer at once, and what it cost. Never a stream.

        Raises GenerationFailed for whatever went wrong; asks once, as nobody waits for it.
        """
        with gevent.Timeout(seconds, GenerationFailed("provider_stalled")):
            for limit in ("max_tokens", "max_completion_tokens"):
                try:
                    return _short(self._whole(request, {limit: max_tokens}))
                except openai.APIStatusError as error:
                    if error.status_code == 400 and limit == "max_tokens" and limit in _says(error):
                        continue  # newer models have another word for it
                    raise GenerationFailed("provider_rejected") from None
                except openai.APIConnectionError:
                    raise GenerationFailed("provider_unavailable") from None
                except (openai.OpenAIError, httpx2.HTTPError):
                    raise GenerationFailed("provider_malformed") from None
        raise GenerationFailed("provider_rejected")

    def _whole(self, request: Request, options: Mapping[str, Any]) -> bytes:
        with self._call(request, options, stream=False) as response:
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > SHORT_LIMIT:
                    raise GenerationFailed("provider_malformed")
            return data

    def _open(self, request: Request) -> "_Response":
        """Ask until the provider begins to answer: it may be busy, or not there for a moment."""
        deadline = time.monotonic() + RETRY_BUDGET
        pause = BACKOFF
        while True:
            try:
                return self._try(request)
            except Retry as retry:
                wait = pause * random.uniform(0.5, 1.5) if retry.after is None else retry.after  # noqa: S311
                if time.monotonic() + wait > deadline:
                    raise GenerationFailed("provider_unavailable") from None
                metrics.RETRIES.labels(str(retry.status or "connection")).inc()
                log.info("provider.retry", status=retry.status, wait=round(wait, 2))
                gevent.sleep(wait)
                pause *= 2

    def _try(self, request: Request) -> "_Response":
        usage: Any = {"stream_options": {"include_usage": True}} if self._asks_usage else {}
        call = self._call(request, {**request.options, **usage}, stream=True)
        try:
            return _Response(call)
        except openai.APIStatusError as error:
            if self._refuses_usage(error):
                self._asks_usage = False
                return self._try(request)
            raise _rejection(error, request) from None
        except openai.APIConnectionError:
            raise Retry(None) from None

    def _call(self, request: Request, options: Mapping[str, Any], *, stream: bool) -> Any:
        """A request, which goes out when it is entered; its body is not read yet."""
        accept = {"Accept": "text/event-stream"} if stream else {}
        return self._create(
            # In the body as they are: the package would walk through each of them by its types.
            model=openai.omit,
            messages=openai.omit,
            extra_body={
                "model": request.model,
                "messages": request.turns,
                "stream": stream,
                **options,
            },
            # No compressed bombs; nothing to inflate between a token and its reader.
            extra_headers={"Accept-Encoding": "identity", **accept},
        )

    def _refuses_usage(self, error: openai.APIStatusError) -> bool:
        refused = error.status_code in (400, 422) and "stream_options" in _says(error)
        return refused and self._asks_usage


def _short(data: bytes) -> tuple[str, dict[str, Any] | None]:
    """The text and the usage of an answer that came at once. Raises GenerationFailed."""
    try:
        answer = json.loads(data)
        text = answer["choices"][0]["message"]["content"] or ""
        usage = usage_of(answer["usage"]) if answer.get("usage") else None
    except (ValueError, RecursionError, LookupError, AttributeError, TypeError):
        raise GenerationFailed("provider_malformed") from None
    if not isinstance(text, str):
        raise GenerationFailed("provider_malformed")
    return text, usage


class _Response(AbstractContextManager["_Response"]):
    """An open response: bytes as they come, the connection closed at the end."""

    def __init__(self, call: Any) -> None:
        self._call = call
        response = call.__enter__()
        body = response.http_response.extensions.get("body")
        plain = body is not None and response.headers.get("content-encoding") is None
        self.pieces: Iterable[bytes] = body if plain else _politely(response.iter_bytes())

    def __exit__(self, *exc: object) -> None:
        self._call.__exit__(None, None, None)


def _politely(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Others have their turn, however fast a stream is."""
    for piece in pieces:
        yield piece
        gevent.sleep(0)


def _read(response: _Response, reply: Reply) -> None:
    """Feed the reply until the provider's explicit end; GenerationFailed for every other one."""
    try:
        _read_on(response, reply)
    except (UnicodeDecodeError, LineTooLong, httpx2.DecodingError):
        raise GenerationFailed("provider_malformed") from None
    except httpx2.TransportError:
        pass  # a cut, unless it came after the end
    if not reply.ended:
        raise GenerationFailed("provider_cut")


def _read_on(response: _Response, reply: Reply) -> None:
    """Until the body's end, or until all that can still come is late."""
    decoder = Decoder(limit=LINE_LIMIT)
    patience = _Patience()
    try:
        for chunk in response.pieces:
            if not reply.done:  # behind [DONE] nothing counts, not even what is no UTF-8
                _feed(decoder, chunk, reply)
            patience.look(reply)
    except gevent.Timeout as timeout:
        if timeout is not patience.timer:
            raise
    finally:
        patience.close()


def _feed(decoder: Decoder, chunk: bytes, reply: Reply) -> None:
    for event in decoder.feed(chunk):
        reply.take(event)
        if reply.done:
            return


class _Patience:
    """How long the end of a body is waited for once the provider has said that it is done.

    To the end if it comes soon: then the connection can be used again.
    """

    def __init__(self) -> None:
        self.timer: gevent.Timeout | None = None
        self._seconds = 0.0

    def look(self, reply: Reply) -> None:
        seconds = DONE_GRACE if reply.done else USAGE_GRACE if reply.ended else 0.0
        if seconds != self._seconds:
            self.close()
            self._seconds = seconds
            self.timer = gevent.Timeout.start_new(seconds)

    def close(self) -> None:
        if self.timer is not None:
            self.timer.close()


def _says(error: openai.APIStatusError) -> str:
    """What the provider said, for looking at only: never kept, never logged."""
    body = error.body
    return f"{body} {error.message}".lower()


def _rejection(error: openai.APIStatusError, request: Request) -> Exception:
    """A refused request, as what it is for the person: try later, or why not."""
    status, said = error.status_code, _says(error)
    if status == 429 and "insufficient_quota" in said:
        return _rejected("The quota at the model's provider is used up.")
    if status in _RETRYABLE:
        return Retry(status, retry_after(error.response.headers))
    if status in (401, 403):
        return _rejected("The model's provider refused the API key.")
    if status == 404 or "model_not_found" in said:
        return _rejected(f"The model's provider does not know the model “{request.model}”.")
    if status == 413 or any(word in said for word in _TOO_LONG):
        return _rejected("The conversation is too long for this model.")
    refused = next((name for name in request.options if name in said), None)
    if refused:
        return _rejected(f"The model's provider does not accept the option “{refused}”.")
    return _rejected(None)


_TOO_LONG: Final = (
    "context_length",
    "context length",
    "context size",
    "context window",
    "exceed_context",
    "too long",
    "maximum context",
)


def _rejected(sentence: str | None) -> GenerationFailed:
    return GenerationFailed("provider_rejected", sentence)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The Retry-After header in seconds: a number, or a date (RFC 9110, 10.2.3).

    A date is the provider's, so it counts from the provider's own clock, if that is told.
    """
    value = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    moment, now = _moment(value), _moment(headers.get("date", ""))
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()) if moment else None


def _moment(date: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
