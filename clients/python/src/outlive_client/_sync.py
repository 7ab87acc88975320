"""The client for programs without an event loop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Callable, TypeVar

import httpx

from outlive_client import _calls, _export
from outlive_client._calls import NEWEST, Call, Flow, Parent
from outlive_client._errors import NotFound, OutliveError, ProofMismatch, TooMany, Unreachable
from outlive_client._models import (
    Asked,
    Conversation,
    Delta,
    End,
    Hit,
    Message,
    Models,
    Page,
    Part,
    Share,
    Shared,
    Usage,
)
from outlive_client._reading import Reading
from outlive_client._responses import Retries, parsed, refusal
from outlive_client._settings import (
    PATIENCE,
    STREAM_PATIENCE,
    STREAM_TIMEOUT,
    Token,
    settings,
)

T = TypeVar("T")


class Answer:
    """An answer that is being read: an iterator over its deltas, through every cut.

    Iterating raises what ends the reading: ApiError (the answer was deleted, say), Unreachable
    after `stream_patience` seconds without a sign of life, and ProofMismatch at the end if what
    came is not the whole answer. Leaving it, by `close` or by the end of a `with` block, does not
    stop the answer: it is written to its end, and `follow` reads it again.
    """

    def __init__(self, client: Outlive, reading: Reading) -> None:
        self._client = client
        self._reading = reading
        self._deltas: deque[Delta] = deque()
        self._steps = self._read()
        self._closed = False
        #: called before every pause after a cut
        self.on_cut: Callable[[], object] | None = None

    @property
    def id(self) -> str:
        """The answer's id, for `follow`, `stop`, `retry`, `continue_`."""
        assert self._reading.message_id is not None
        return self._reading.message_id

    @property
    def asked(self) -> Asked | None:
        """Question and answer as they were accepted; None for an answer that is only followed."""
        return self._reading.accepted

    @property
    def text(self) -> str:
        """The text as far as it has been read, without reasoning and tool calls."""
        return "".join(part.text for part in self.parts if part.kind == "text")

    @property
    def parts(self) -> Sequence[Part]:
        """All parts as far as they have been read."""
        return self._reading.parts

    @property
    def end(self) -> End | None:
        """How it ended, once it has been read to its end."""
        return self._reading.end

    def read(self) -> Answer:
        """Read to the end; the same answer, for `client.ask("…").read().text`."""
        for _ in self:
            pass
        return self

    def texts(self) -> Iterator[str]:
        """The pieces of the text alone, without reasoning and tool calls."""
        return (delta.text for delta in self if delta.kind == "text")

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        while not self._deltas:
            self._step()
        return self._deltas.popleft()

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave; the answer is still written."""
        self._closed = True
        self._steps.close()

    def _begin(self) -> Answer:
        """Read until the question is accepted."""
        while self._reading.message_id is None:
            self._step()
        return self

    def _step(self) -> None:
        """Read one piece of a response. Raises StopIteration at the end."""
        try:
            self._deltas.extend(next(self._steps))
        except StopIteration:
            if self._closed or self.end is not None:
                raise
            self._steps = self._read()  # an exception has ended it: go on from there

    def _read(self) -> Generator[list[Delta], None, None]:
        reading, client = self._reading, self._client
        while reading.end is None:
            failure: OutliveError | None = None
            response: httpx.Response | None = None
            try:
                response = client._open(reading.request())
                status, headers = response.status_code, response.headers
                if reading.respond(status, headers, time.monotonic()):
                    for data in response.iter_raw():
                        yield reading.feed(data)
                        if reading.over:
                            break
                else:
                    failure = reading.refuse(status, headers, response.read())
            except httpx.TransportError as error:
                failure = client._unreachable(error)
            finally:
                if response is not None:
                    response.close()
            if reading.end is None:
                pause = reading.cut(failure, time.monotonic())
                if self.on_cut is not None:
                    self.on_cut()
                time.sleep(pause)
        if not reading.proven:
            raise ProofMismatch(self._stored())

    def _stored(self) -> Message | None:
        try:
            return self._client.message(self.id)
        except NotFound:
            return None


class Outlive:
    """The service at one address.

    `token`: a service key, or a JWT, or a function that gives one for each request. `user`: for
    whom a service key acts, where it may. `patience`: seconds for which a call is repeated while
    the service is not ready; `stream_patience`: for which an answer's stream may bring nothing,
    math.inf for no limit. `http`: an httpx.Client for
    other proxies, certificates or timeouts; it is then yours to close.

    An address that was never reached is given up at once.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        user: str | None = None,
        patience: float = PATIENCE,
        stream_patience: float = STREAM_PATIENCE,
        http: httpx.Client | None = None,
    ) -> None:
        self._settings = settings(url, token, user, patience, stream_patience)
        self._own = http is None
        self._http = http or httpx.Client(**self._settings.transport())
        self._reached = False

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._settings.url

    def __enter__(self) -> Outlive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        if self._own:
            self._http.close()

    # --- answers

    def ask(
        self,
        content: str,
        *,
        conversation: str | None = None,
        parent: Parent = NEWEST,
        system: str | None = None,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Answer:
        """Ask; returns as soon as the question is accepted.

        Without `conversation` in a new one, which may have a `system` text. `parent`: the answer
        below which to ask, None for another root; otherwise below the newest. `key`: an
        Idempotency-Key of your own, if the same question may be asked again by another process.
        """
        if conversation is None:
            conversation = self.create_conversation(system=system).id
        elif system is not None:
            raise ValueError("system is for a new conversation; this one exists already")
        fields = _calls.question_fields(content, parent, model, options)
        return self._ask(_calls.ask(conversation, fields, key))

    def retry(
        self,
        message_id: str,
        *,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Answer:
        """Have the same question answered again, beside an answer that has ended."""
        fields = _calls.answer_fields(model, options)
        return self._ask(_calls.retry(message_id, fields, key))

    def continue_(
        self,
        message_id: str,
        *,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Answer:
        """Have an answer continued that was stopped, failed or reached a length limit."""
        fields = _calls.answer_fields(model, options)
        return self._ask(_calls.continue_(message_id, fields, key))

    def follow(self, message_id: str) -> Answer:
        """Read an answer from its beginning, whether it is being written or has ended."""
        return self._answer(message_id)

    def stop(self, message_id: str) -> Message:
        """Stop an answer; what was written is kept. Harmless if it has ended."""
        return self._call(_calls.stop(message_id))

    def message(self, message_id: str) -> Message:
        """A message as it is now."""
        return self._call(_calls.message(message_id))

    # --- conversations

    def create_conversation(
        self, *, title: str | None = None, system: str | None = None
    ) -> Conversation:
        """A new, empty conversation."""
        return self._call(_calls.create_conversation(title, system))

    def conversations(self, *, limit: int = 50, cursor: str | None = None) -> Page[Conversation]:
        """The newest conversations, without their messages."""
        return self._run(_calls.conversations(limit, cursor))

    def conversation(self, conversation_id: str, *, leaf: str | None = None) -> Conversation:
        """A conversation with one whole branch: that of `leaf`, otherwise the newest."""
        return self._run(_calls.conversation(conversation_id, leaf))

    def change_conversation(self, conversation_id: str, **changes: str | None) -> Conversation:
        """Change its `title` or `system` text; None removes it."""
        return self._call(_calls.change_conversation(conversation_id, dict(changes)))

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete it; its open answers are stopped."""
        self._call(_calls.delete_conversation(conversation_id))

    def undelete_conversation(self, conversation_id: str) -> Conversation:
        """Take a deletion back, within an hour."""
        return self._call(_calls.undelete_conversation(conversation_id))

    def search(self, words: str, *, limit: int = 20, cursor: str | None = None) -> Page[Hit]:
        """Conversations that have all these words, most recently active first."""
        return self._run(_calls.search(words, limit, cursor))

    def export(
        self, conversation_id: str, form: str = _export.MARKDOWN, *, leaf: str | None = None
    ) -> str:
        """A conversation as "markdown" (one branch: that of `leaf`, otherwise the newest) or as
        "json" (all of them)."""
        return self._run(_export.export(conversation_id, form, leaf))

    def models(self) -> Models:
        """The models that can be asked."""
        return self._call(_calls.models())

    # --- sharing

    def share(
        self, conversation_id: str, *, user: str | None = None, days: int | None = None
    ) -> Share:
        """Let others read a conversation, for so many days or until it is revoked: a `user`, named
        by login or by the host product's id, or whoever has the link (its `token` is a token of
        this client, and `path` a page of the service).

        If the reply is lost and the call repeated, a link that nobody has is left in `shares`.
        """
        return self._call(_calls.share(conversation_id, user, days))

    def shares(self, conversation_id: str) -> Sequence[Share]:
        """The shares of a conversation that are not revoked, newest first."""
        return self._call(_calls.shares(conversation_id))

    def revoke_share(self, share_id: str) -> None:
        """Revoke a share; who reads by it reads no further."""
        self._call(_calls.revoke_share(share_id))

    def shared(self) -> Sequence[Shared]:
        """What others share with this user; with a link's token, its conversation."""
        return self._call(_calls.shared())

    # --- the user

    def usage(self) -> Usage:
        """The tokens that were used today and this month (UTC), and the budgets."""
        return self._call(_calls.usage())

    def export_all(self, form: str = _export.MARKDOWN) -> Iterator[str]:
        """Everything of the user, as it comes: as "json" each piece is one line, a document.

        Raises Unreachable if the connection broke before the end: what came is not all.
        """
        everything = _export.Everything(self.url, form)
        response = self._opened(everything.call)
        try:
            for data in response.iter_bytes():
                yield from everything.feed(data)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        finally:
            response.close()
        everything.finish()

    def delete_user(self) -> None:
        """Delete this user and everything of theirs. Nobody can take it back."""
        self._call(_calls.delete_user())

    # --- requests

    def _ask(self, question: Call[Asked]) -> Answer:
        return self._answer(question)._begin()

    def _answer(self, subject: Call[Asked] | str) -> Answer:
        reading = Reading(
            self.url,
            subject,
            patience=self._settings.patience,
            stream_patience=self._settings.stream_patience,
            now=time.monotonic(),
        )
        return Answer(self, reading)

    def _run(self, flow: Flow[T]) -> T:
        try:
            call = next(flow)
            while True:
                call = flow.send(self._call(call))
        except StopIteration as done:
            found: T = done.value
            return found

    def _call(self, call: Call[T]) -> T:
        retries = Retries(self._settings.patience, time.monotonic())
        while True:
            try:
                return self._call_once(call)
            except (Unreachable, TooMany) as failure:
                pause = retries.pause(failure, time.monotonic())
            except NotFound:
                if not (call.deletes and retries.begun):
                    raise
                return call.read({})  # the try before deleted it, and its reply was lost
            time.sleep(pause)

    def _opened(self, call: Call[Any]) -> httpx.Response:
        """A response that is read as it comes, once the service gives one."""
        retries = Retries(self._settings.patience, time.monotonic())
        while True:
            failure: OutliveError
            try:
                response = self._open(call)
                if response.status_code == 200:
                    return response
                failure = refusal(self.url, response.status_code, response.headers, response.read())
            except httpx.TransportError as error:
                failure = self._unreachable(error)
            time.sleep(retries.pause(failure, time.monotonic()))

    def _call_once(self, call: Call[T]) -> T:
        try:
            response = self._http.request(
                call.method,
                self.url + call.path,
                params=call.params,
                content=call.content,
                headers=self._settings.headers(call),
            )
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        self._reached = True
        return call.read(parsed(self.url, response.status_code, response.headers, response.content))

    def _open(self, call: Call[Any]) -> httpx.Response:
        request = self._http.build_request(
            call.method,
            self.url + call.path,
            content=call.content,
            headers=self._settings.headers(call),
            timeout=STREAM_TIMEOUT,
        )
        response = self._http.send(request, stream=True)
        self._reached = True
        return response

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        failure = self._settings.unreachable(error, reached=self._reached)
        self._reached = failure.temporary
        return failure
