"""Asks the provider: one OpenAI-compatible HTTP endpoint, through the openai package.

It guarantees that `stream` returns only after an explicit end, and that a request fails with one
of our own sentences: what a provider says in an error is neither kept nor logged, as it may quote
the prompt or the key. Only its status and its code are kept (`refusals.error_code`).

The package makes the request. The stream is read raw, because an SDK object for each chunk costs
ten times as much. What arrives is parsed by reply_parser.py, what is refused is classified by
refusals.py, both without I/O. Here are the request, its connection and the tries:

* A request that is refused for now, or answered with 200 and an error before any text, is sent
  again, with growing pauses (retries.py).
* A request with a feature that the provider does not support is sent again without it, once for
  each feature (refusals.Feature).
* Nothing here limits the time that an answer takes: the writer's watch interrupts it.
"""

import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import gevent
import httpx2
import openai
import structlog

from shared import tls
from shared.body import Body
from shared.errors import GenerationFailed
from shared.settings import Settings
from worker.provider import prompt
from worker.provider.chunks import ChunkParser
from worker.provider.prompt import Turn
from worker.provider.receiving import Receiver
from worker.provider.refusals import (
    SENTENCES,
    Classification,
    Feature,
    Refusal,
    RequestForm,
    classify,
    error_code,
    error_text,
)
from worker.provider.reply import Reply, Write
from worker.provider.retries import Report, Retries, retry_after
from worker.provider.transport import DirectTransport, is_direct

#: Seconds to connect.
CONNECT_TIMEOUT: Final = 10.0
#: Bytes of an answer that is to be short.
COMPLETION_MAX: Final = 1 << 16

log = structlog.get_logger("provider")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked. `options` were checked against the allow-list when the question came."""

    model: str
    turns: Sequence[Turn]
    options: Mapping[str, Any]


class Provider:
    """A client of the configured endpoint. One for the process, as building one is slow.

    Raises SystemExit with a sentence for proxies or certificates that cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT)
        context = tls.client_context()
        transport = DirectTransport(context) if is_direct() else None
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        try:
            http_client = openai.DefaultHttpxClient(
                limits=limits, timeout=timeout, transport=transport, verify=context
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
        #: looked up now, because the first look-up loads half of the package
        self._create: Any = client.chat.completions.with_streaming_response.create
        self._receiver = Receiver(settings)
        self._think_tags = settings.think_tags
        #: the provider has not refused `stream_options` by name
        self._asks_usage = True

    def stream(
        self, request: ChatRequest, write: Write, retrying: Report = lambda _: None
    ) -> Reply:
        """Write the answer as it comes; returns when the provider has said that it is complete.

        `retrying` is called while the provider is asked again, see `Retries`.

        Raises GenerationFailed for every other end, and whatever `write` raises.
        """
        without: set[Feature] = set() if self._asks_usage else {Feature.USAGE}
        retries = Retries(retrying)
        while True:
            form = _form(request, without)
            try:
                with self._open(request, form) as response:
                    retries.accepted()
                    return self._receiver.receive(response, write, form)
            except Refusal as refusal:
                found = refusal.classification
                if found.without is not None:
                    log.info("provider.other_form", without=found.without.value)
                    without.add(found.without)
                elif found.retry:
                    retries.wait(refusal)
                else:
                    raise GenerationFailed(
                        "provider_rejected", found.sentence, upstream=refusal.upstream
                    ) from None

    def complete(
        self, request: ChatRequest, max_tokens: int, seconds: float
    ) -> tuple[str, dict[str, Any] | None]:
        """The text and the usage of a short answer, which is not streamed.

        Raises GenerationFailed. No reader waits for such an answer, so it is not tried again later.
        """
        without = {Feature.USAGE, Feature.STREAM}
        limit = "max_tokens"
        with gevent.Timeout(seconds, GenerationFailed("provider_stalled")):
            while True:
                try:
                    return self._parse(self._fetch(request, without, {limit: max_tokens}))
                except openai.APIStatusError as error:
                    refusal = self._refusal(error, _form(request, without))
                    if refusal.classification.without is not None:
                        without.add(refusal.classification.without)
                    elif error.status_code == 400 and limit in error.response.text:
                        if limit != "max_tokens":
                            raise GenerationFailed("provider_rejected") from None
                        limit = "max_completion_tokens"  # the name of the option in newer models
                    else:
                        raise GenerationFailed("provider_rejected") from None
                except openai.APIConnectionError:
                    raise GenerationFailed("provider_unavailable") from None
                except Refusal:
                    raise GenerationFailed("provider_rejected") from None
                except (openai.OpenAIError, httpx2.HTTPError):
                    raise GenerationFailed("provider_malformed") from None

    def _fetch(
        self, request: ChatRequest, without: set[Feature], options: Mapping[str, Any]
    ) -> bytes:
        with self._call(request, _form(request, without), options) as response:
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > COMPLETION_MAX:
                    raise GenerationFailed("provider_malformed")
            return data

    def _parse(self, data: bytes) -> tuple[str, dict[str, Any] | None]:
        body = Body()
        reply = Reply(body.write, COMPLETION_MAX, think_tags=self._think_tags)
        for _ in ChunkParser(reply).take_document(data):
            pass
        reply.close()
        return body.text, reply.usage

    def _open(self, request: ChatRequest, form: RequestForm) -> "_OpenResponse":
        """Send the request; returns when the head of the response has come. Raises Refusal."""
        usage: Any = {"stream_options": {"include_usage": True}} if form.usage else {}
        try:
            return _OpenResponse(self._call(request, form, {**request.options, **usage}))
        except openai.APIStatusError as error:
            raise self._refusal(error, form) from None
        except openai.APIConnectionError as error:
            raise Refusal(_classify_connection_error(error)) from None

    def _call(self, request: ChatRequest, form: RequestForm, options: Mapping[str, Any]) -> Any:
        """A request that is sent when it is entered; the body of its response is not read yet."""
        accept = {"Accept": "text/event-stream"} if form.stream else {}
        turns = request.turns if form.system else prompt.without_system(request.turns)
        return self._create(
            # In `extra_body`: the package would check each of them against its types.
            model=openai.omit,
            messages=openai.omit,
            extra_body={
                "model": request.model,
                "messages": turns,
                "stream": form.stream,
                **options,
            },
            # Compression would only delay tokens, and allow bombs.
            extra_headers={"Accept-Encoding": "identity", **accept},
        )

    def _refusal(self, error: openai.APIStatusError, form: RequestForm) -> Refusal:
        body, headers = error.response.text, error.response.headers
        html = "html" in headers.get("content-type", "") or body.lstrip()[:1] == "<"
        text = error_text(body)
        found = classify(error.status_code, text, form, html=html)
        if found.without is Feature.USAGE and Feature.USAGE.value in text:
            self._asks_usage = False  # refused by name, so it would be refused every time
        return Refusal(
            found, status=error.status_code, code=error_code(body), after=retry_after(headers)
        )


def _form(request: ChatRequest, without: set[Feature]) -> RequestForm:
    stream = Feature.STREAM not in without
    return RequestForm(
        model=request.model,
        # The word "user" is in many texts that are not about the option.
        options=[name for name in request.options if name != "user"],
        usage=stream and Feature.USAGE not in without,
        stream=stream,
        system=Feature.SYSTEM not in without and prompt.has_system(request.turns),
    )


class _OpenResponse(AbstractContextManager["_OpenResponse"]):
    """A response whose body is still to come; closes its connection at the end."""

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
    """The pieces, with a turn for other greenlets after each, however fast they come."""
    for piece in pieces:
        yield piece
        gevent.sleep(0)


def _classify_connection_error(error: BaseException | None) -> Classification:
    """Mostly it may work a moment later, but not if TLS cannot be agreed on."""
    for _ in range(10):  # the package, httpx and its transport each wrap the cause
        if isinstance(error, ssl.SSLCertVerificationError):
            return Classification(sentence=SENTENCES["certificate"])
        if isinstance(error, ssl.SSLError) and error.reason in tls.NOT_SPOKEN:
            return Classification(sentence=SENTENCES["tls"])
        error = error and (error.__cause__ or error.__context__)
    return Classification(retry=True)
