"""The provider: one OpenAI-compatible HTTP endpoint, asked through the openai package.

The package makes the request; the stream is read raw, because an SDK object per chunk costs ten
times as much. What arrives is understood in reply.py, what is refused in refusals.py, both without
I/O; here are the connection, the tries and the clock:

* A request that is refused for now is asked again, with growing pauses, for RETRY_BUDGET in all;
  so is one that is answered with 200 and an error before any text. What cannot be taken in one
  form is said once in another (refusals.Form).
* After a finish reason more is waited for, but not for ever: a usage, the rest of a stream that
  says `stop` in every chunk. Anything new of the answer renews that patience, and text without
  another end takes the claim back. DONE needs an explicit end and an answer before it.
* However much comes at once, others have their turn after TURN seconds.

Nothing of what a provider says in an error is kept or logged (it may quote the prompt or the key):
it is told by status and code, in our own sentences.
"""

import random
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Final

import gevent
import httpx2
import openai
import structlog

from shared import awake, tls
from shared.body import Body
from shared.errors import GenerationFailed
from shared.settings import Settings
from worker import metrics
from worker.generation import TooLong
from worker.provider import prompt
from worker.provider.prompt import Turn
from worker.provider.refusals import (
    SENTENCES,
    Asked,
    Form,
    Refusal,
    Verdict,
    judge,
    retry_after,
    words_of,
)
from worker.provider.reply import Reader, Reply, Write
from worker.provider.transport import YIELD_AFTER, Transport, is_direct

#: Seconds that all tries together may wait for a provider that is not there or overloaded.
RETRY_BUDGET: Final = 60.0
#: Tries of a provider that says 200 and then reports an error before any text.
TRIES_IN_STREAM: Final = 4
#: Seconds to connect, and the first pause between tries; it doubles.
CONNECT_TIMEOUT: Final = 10.0
BACKOFF: Final = 0.5
#: Seconds after a finish reason in which more may come: after an answer, and before any. At most
#: half of the patience with a silent provider, so that an end is never taken for a stall.
END_PATIENCE: Final = 10.0
EMPTY_PATIENCE: Final = 30.0
#: Seconds after [DONE] in which the body should end: then its connection can be used again.
DONE_GRACE: Final = 0.5
#: Bytes that are understood in one go, and of an answer that is to be short.
SLICE: Final = 1 << 13
SHORT_LIMIT: Final = 1 << 16
#: Finish reasons that say by themselves why there may be no text.
_EXPLAINED: Final = ("length", "content_filter")

log = structlog.get_logger("provider")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. `options` were checked against the allow-list when the question came."""

    model: str
    turns: Sequence[Turn]
    options: Mapping[str, Any]


class Provider:
    """A client of the configured endpoint; one for the process, as building one is slow.

    Raises SystemExit with a sentence for surroundings (proxies, certificates) that cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT)
        context = tls.client_context()
        direct = Transport(context) if is_direct() else None
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        try:
            http_client = openai.DefaultHttpxClient(
                limits=limits, timeout=timeout, transport=direct, verify=context
            )
        except (ValueError, ImportError, httpx2.InvalidURL):
            raise SystemExit(tls.PROXY) from None
        client = openai.OpenAI(
            base_url=settings.provider_url,
            default_query=settings.provider_query,
            api_key=settings.openai_api_key or "none",
            max_retries=0,
            timeout=timeout,
            http_client=http_client,
        )
        #: found now, because looking for it loads half of the package
        self._create: Any = client.chat.completions.with_streaming_response.create
        self._limit = settings.answer_chars
        self._think_tags = settings.think_tags
        self._end_patience = min(END_PATIENCE, settings.stall_seconds / 2)
        self._empty_patience = min(EMPTY_PATIENCE, settings.first_token_seconds / 2)
        #: whether this provider was never heard to refuse `stream_options` by name
        self._asks_usage = True

    def stream(self, request: Request, write: Write) -> Reply:
        """Write the answer as it comes; returns when the provider has said that it is done.

        Raises GenerationFailed for every other end. Blocks without limit of its own: whoever
        calls interrupts it when it is too slow.
        """
        without: set[Form] = set() if self._asks_usage else {Form.USAGE}
        tries = _Tries()
        while True:
            asked = _asked(request, without)
            try:
                with self._open(request, asked) as response:
                    return self._read(response, write, asked)
            except Refusal as refusal:
                _, form, sentence = refusal.verdict
                if form is not None:
                    log.info("provider.other_form", without=form.value)
                    without.add(form)
                elif refusal.verdict.retry:
                    tries.wait(refusal)
                else:
                    raise GenerationFailed("provider_rejected", sentence) from None

    def complete(
        self, request: Request, max_tokens: int, seconds: float
    ) -> tuple[str, dict[str, Any] | None]:
        """A short answer at once, and what it cost. Never a stream.

        Raises GenerationFailed for whatever went wrong; nobody waits for it, so what may pass is
        not tried again.
        """
        without = {Form.USAGE, Form.STREAM}
        limit = "max_tokens"
        with gevent.Timeout(seconds, GenerationFailed("provider_stalled")):
            while True:
                try:
                    return self._short(self._whole(request, without, {limit: max_tokens}))
                except openai.APIStatusError as error:
                    refusal = self._refused(error, _asked(request, without))
                    if refusal.verdict.form is not None:
                        without.add(refusal.verdict.form)
                    elif error.status_code == 400 and limit in error.response.text:
                        if limit != "max_tokens":
                            raise GenerationFailed("provider_rejected") from None
                        limit = "max_completion_tokens"  # newer models have another word for it
                    else:
                        raise GenerationFailed("provider_rejected") from None
                except openai.APIConnectionError:
                    raise GenerationFailed("provider_unavailable") from None
                except Refusal:
                    raise GenerationFailed("provider_rejected") from None
                except (openai.OpenAIError, httpx2.HTTPError):
                    raise GenerationFailed("provider_malformed") from None

    def _whole(self, request: Request, without: set[Form], options: Mapping[str, Any]) -> bytes:
        with self._call(request, _asked(request, without), options) as response:
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > SHORT_LIMIT:
                    raise GenerationFailed("provider_malformed")
            return data

    def _short(self, data: bytes) -> tuple[str, dict[str, Any] | None]:
        """The text and the usage of an answer that came at once. Raises GenerationFailed."""
        body = Body()
        reply = Reply(body.write, SHORT_LIMIT, think_tags=self._think_tags)
        for _ in reply.take_whole(data):
            pass
        reply.close()
        return body.text, reply.usage

    # --- asking

    def _open(self, request: Request, asked: Asked) -> "_Response":
        """Ask once; returns when the provider begins to answer. Raises Refusal."""
        usage: Any = {"stream_options": {"include_usage": True}} if asked.usage else {}
        try:
            return _Response(self._call(request, asked, {**request.options, **usage}))
        except openai.APIStatusError as error:
            raise self._refused(error, asked) from None
        except openai.APIConnectionError as error:
            raise Refusal(_unreachable(error)) from None

    def _call(self, request: Request, asked: Asked, options: Mapping[str, Any]) -> Any:
        """A request, which goes out when it is entered; its body is not read yet."""
        accept = {"Accept": "text/event-stream"} if asked.stream else {}
        turns = request.turns if asked.system else prompt.without_system(request.turns)
        return self._create(
            # In the body as they are: the package would walk through each of them by its types.
            model=openai.omit,
            messages=openai.omit,
            extra_body={
                "model": request.model,
                "messages": turns,
                "stream": asked.stream,
                **options,
            },
            # No compressed bombs; nothing to inflate between a token and its reader.
            extra_headers={"Accept-Encoding": "identity", **accept},
        )

    def _refused(self, error: openai.APIStatusError, asked: Asked) -> Refusal:
        """A refused request, as what it is."""
        body, headers = error.response.text, error.response.headers
        html = "html" in headers.get("content-type", "") or body.lstrip()[:1] == "<"
        said = words_of(body)
        verdict = judge(error.status_code, said, asked, html=html)
        if verdict.form is Form.USAGE and Form.USAGE.value in said:
            self._asks_usage = False  # it named it, so it will refuse it the next time, too
        return Refusal(verdict, status=error.status_code, after=retry_after(headers))

    # --- reading

    def _read(self, response: "_Response", write: Write, asked: Asked) -> Reply:
        """The reply, once it has ended as it should. Raises Refusal if nothing was shown of it."""
        reply = Reply(write, self._limit, think_tags=self._think_tags, asked=asked)
        reader = Reader(reply, response.content_type)
        try:
            self._read_on(response.pieces, reader)
            if not reply.ended:
                raise GenerationFailed("provider_cut")
        except Refusal:
            raise
        except BaseException:
            with suppress(TooLong):  # how it ends is known, whether its rest has room or not
                reply.close()
            raise
        reply.close()
        if reply.left_out:
            metrics.LEFT_OUT.inc(reply.left_out)
            log.info("provider.left_out", images=reply.left_out)
        if not reply.answered and reply.finish_reason not in _EXPLAINED:
            raise GenerationFailed("provider_empty")
        return reply

    def _read_on(self, body: Iterable[bytes], reader: Reader) -> None:
        """Feed the reader until the body's end, or until all that can still come is late."""
        pieces, reply, whole = iter(body), reader.reply, True
        try:
            for chunk in pieces:
                _feed(reader, chunk)
                if reply.ended and not self._linger(pieces, reader):
                    break
        except httpx2.DecodingError:
            raise GenerationFailed("provider_malformed") from None
        except httpx2.TransportError:
            whole = False  # a cut, unless it came after the end
        for _ in reader.end(whole=whole):
            gevent.sleep(0)

    def _linger(self, pieces: Iterator[bytes], reader: Reader) -> bool:
        """Read what follows an end. True: it was none, as the answer goes on.

        The clock runs only while the provider is waited for, never while Postgres is.
        """
        reply, until, known = reader.reply, 0.0, None
        while reply.ended:
            if known != (reply.moved, reply.done):
                known = reply.moved, reply.done
                until = time.monotonic() + self._patience(reply)
            timer = gevent.Timeout.start_new(max(0.0, until - time.monotonic()))
            try:
                chunk = next(pieces)
            except StopIteration:
                return False
            except gevent.Timeout as timeout:
                if timeout is not timer:
                    raise
                return False
            finally:
                timer.close()
            if not reply.done:  # after [DONE] nothing counts
                _feed(reader, chunk)
            if time.monotonic() > until and known == (reply.moved, reply.done):
                return False
        return True

    def _patience(self, reply: Reply) -> float:
        """Seconds for which more may come after an end."""
        if reply.done:
            return DONE_GRACE
        explained = reply.answered or reply.finish_reason in _EXPLAINED
        return self._end_patience if explained else self._empty_patience


class _Tries:
    """How often, and how long, a provider is asked again."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._pause = BACKOFF
        self._in_stream = 1

    def wait(self, refusal: Refusal) -> None:
        """Until the next try; raises GenerationFailed when there is none.

        What the provider asks for may make a pause longer, never shorter.
        """
        self._in_stream += refusal.in_stream
        if self._in_stream > TRIES_IN_STREAM:
            raise GenerationFailed("provider_error") from None
        wait = max(self._pause * random.uniform(0.5, 1.5), refusal.after or 0.0)  # noqa: S311
        if awake.since(self._begun) + wait > RETRY_BUDGET:
            raise GenerationFailed("provider_unavailable") from None
        metrics.RETRIES.labels(str(refusal.status or "connection")).inc()
        log.info("provider.retry", status=refusal.status, wait=round(wait, 2))
        gevent.sleep(wait)
        self._pause *= 2


def _asked(request: Request, without: set[Form]) -> Asked:
    stream = Form.STREAM not in without
    return Asked(
        model=request.model,
        options=request.options.keys(),
        usage=stream and Form.USAGE not in without,
        stream=stream,
        system=Form.SYSTEM not in without and prompt.has_system(request.turns),
    )


class _Response(AbstractContextManager["_Response"]):
    """An open response: bytes as they come, the connection closed at the end."""

    def __init__(self, call: Any) -> None:
        self._call = call
        response = call.__enter__()
        body = response.http_response.extensions.get("body")
        plain = body is not None and response.headers.get("content-encoding") is None
        self.pieces: Iterable[bytes] = body if plain else _yielding(response.iter_bytes())
        self.content_type: str = response.headers.get("content-type", "")

    def __exit__(self, *exc: object) -> None:
        self._call.__exit__(None, None, None)


def _yielding(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Others have their turn, however fast a stream is."""
    for piece in pieces:
        yield piece
        gevent.sleep(0)


def _feed(reader: Reader, chunk: bytes) -> None:
    """Have it understood; what is much in slices that end between two events, if they can."""
    if len(chunk) <= SLICE:
        reader.feed(chunk)
        return
    at, turn_ends = 0, time.monotonic() + YIELD_AFTER
    while at < len(chunk) and not reader.reply.done:
        end = chunk.rfind(b"\n\n", at, at + SLICE) + 2
        end = end if end > at + 1 else at + SLICE
        reader.feed(chunk[at:end])
        at = end
        if time.monotonic() > turn_ends:
            gevent.sleep(0)
            turn_ends = time.monotonic() + YIELD_AFTER


def _unreachable(error: BaseException | None) -> Verdict:
    """What a connection's failure means: mostly that it may work a moment later."""
    for _ in range(10):  # the package, httpx and its transport each wrap it
        if isinstance(error, ssl.SSLCertVerificationError):
            return Verdict(sentence=SENTENCES["certificate"])
        if isinstance(error, ssl.SSLError) and error.reason in tls.NOT_SPOKEN:
            return Verdict(sentence=SENTENCES["tls"])
        error = error and (error.__cause__ or error.__context__)
    return Verdict(retry=True)
