"""Asks and reads one answer through the openai package, which knows nothing of us but a base URL.

What the package raises is what such a client has to live with. It repeats a request itself that was
refused for now; after a tear this reader repeats it, with the same Idempotency-Key. Each time the
answer comes from its first character, and it must be the same answer.
"""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import httpx2
import openai

from drill.answer_reader import ANSWER_SECONDS, CUT_SHARE, END_LATE, OPEN, SILENT
from drill.plan import Observation, Plan
from drill.questions import Question, continues
from drill.reading import PromiseBroken

#: Seconds without a byte after which a connection is dead: the head may take 15.
DEAD: Final = 20.0
#: The most characters after which it cuts a connection.
CUT_CHARS: Final = 600

Fetch = Callable[[], dict[str, Any] | None]


class ChatReader:
    """One client of `/v1/chat/completions`."""

    def __init__(
        self,
        plan: Plan,
        question: Question,
        observation: Observation,
        *,
        answers: list[str],
        fetch: Fetch,
        stop: Callable[[], None],
        went_back: Callable[[str], None],
    ) -> None:
        """`answers`, `fetch`, `stop`: as of AnswerReader."""
        self.plan = plan
        self.question = question
        self.observation = observation
        self.rng = random.Random(f"{plan.seed} {question.number} chat")  # noqa: S311
        #: what the last response has shown
        self.text = ""
        #: how the answer ended, as this client was shown it; None: with an error
        self.finish_reason: str | None = None
        self._answers = answers
        self._fetch = fetch
        self._stop = stop
        self._went_back = went_back
        self._late = ""

    def run(self) -> None:
        """Ask until the end has come. Raises PromiseBroken, and NotFound from `fetch`."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._once():
            if time.monotonic() > deadline:
                raise PromiseBroken(f"by chat completions: no end in {ANSWER_SECONDS:.0f} s")
            time.sleep(self.rng.choice([0.0, 0.0, 0.2]))

    def _once(self) -> bool:
        """Ask once, and read as far as it goes; whether the answer has ended."""
        seen = self.observation
        seen.sent += 1
        url = self.rng.choice(self.plan.urls)
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=DEAD) as client:
            try:
                response = client.chat.completions.with_raw_response.create(
                    model="scripted",
                    messages=[{"role": "user", "content": self.question.text}],
                    stream=True,
                    extra_headers={
                        "Idempotency-Key": f"{self.plan.run} {self.question.number} chat"
                    },
                )
                self._named(response.headers)
                seen.connections += 1
                seen.chats += 1
                with self._watched(response.http_response), response.parse() as stream:
                    return self._read(stream)
            except openai.APIStatusError as error:
                return self._refused(error)
            except (openai.APIConnectionError, httpx2.TransportError):
                if self._late:
                    raise PromiseBroken(self._late) from None
                return False
            except openai.APIError:  # an error object in the stream
                return True

    def _named(self, headers: Any) -> None:
        seen, found = self.observation, headers["outlive-message-id"]
        if seen.id and seen.id != found:
            self._went_back("by chat completions: the same key made another message")
        seen.id = found
        seen.taken_at = seen.taken_at or time.time()

    def _refused(self, error: openai.APIStatusError) -> bool:
        """Whether it is the end of the answer: a failure before its first text."""
        if "outlive-message-id" in error.response.headers:
            self._named(error.response.headers)
            self.text = ""
            message = self._fetch()
            return message is not None and message["status"] not in OPEN
        if error.status_code not in (429, 503):
            raise PromiseBroken(f"by chat completions: HTTP {error.status_code} {error.body}")
        return False

    def _read(self, stream: Any) -> bool:
        seen = self.observation
        cut_after = None
        if self.rng.random() < CUT_SHARE / 2:
            cut_after = self.rng.randrange(1, CUT_CHARS)
        self.text, self.finish_reason = "", None
        candidates = self._answers
        for chunk in stream:
            for choice in chunk.choices:
                new = "".join(_texts(choice.delta))
                fitting = [one for one in candidates if continues(one, new, len(self.text))]
                if candidates and not fitting:
                    what = f"at {len(self.text)}: text that the provider did not send there"
                    self._went_back(what)
                candidates = fitting
                self.text += new
                self.finish_reason = choice.finish_reason or self.finish_reason
            seen.shown = max(seen.shown, len(self.text))
            if self.question.stop_at is not None and len(self.text) >= self.question.stop_at:
                self._stop()
            if cut_after is not None and len(self.text) >= cut_after:
                seen.cuts += 1
                seen.cuts_running += self.finish_reason is None
                return False
        if self.finish_reason is None:
            raise PromiseBroken("by chat completions: a response ended as if the answer had")
        return True

    @contextmanager
    def _watched(self, response: Any) -> Iterator[None]:
        """Cut the connection if the answer has ended and this client does not learn of it."""
        over = threading.Event()
        sock = response.extensions["network_stream"].get_extra_info("socket")

        def watch() -> None:
            ended = 0.0
            while not over.wait(SILENT):
                with suppress(Exception):  # what it finds is found by the reader, too
                    message, now = self._fetch(), time.monotonic()
                    if message is None or message["status"] in OPEN:
                        ended = 0.0
                        continue
                    ended = ended or now
                    if now - ended > END_LATE:
                        self._late = (
                            "by chat completions: the answer has ended, and a connected reader did"
                            " not learn of it"
                        )
                        sock.shutdown(socket.SHUT_RDWR)
                        return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()


def _texts(delta: Any) -> Iterator[str]:
    """Every piece of the answer's text in a chunk, of whichever part."""
    yield getattr(delta, "reasoning_content", None) or ""
    yield delta.content or ""
    for call in delta.tool_calls or ():
        yield (call.function and call.function.arguments) or ""
