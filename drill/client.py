"""One client of the drill: asks a question, has it read, and compares all that its readers saw."""

import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import httpx2

from drill.answer_reader import ANSWER_SECONDS, DEAD, OPEN, AnswerReader, NotFound
from drill.chat_reader import ChatReader
from drill.plan import Observation, Plan
from drill.questions import Question, continues
from drill.reading import PromiseBroken, Reading, proof
from drill.rendezvous import RaceTimer, Rendezvous

#: Seconds that all tries of one request may take.
ASKING_SECONDS: Final = 120.0
#: How often a question may be lost with a Postgres that went back, and is asked again.
LOST_MAX: Final = 5
#: Calls of the provider that a question may have cost then.
CALLS_MAX: Final = 12
#: Seconds in which a new reader has the truth of an answer that was another one before.
TRUTH_SECONDS: Final = 20.0


class KeyReused(Exception):
    """A question that was gone has its key still: it is there."""


def _key_is_reused(answer: httpx2.Response) -> bool:
    return answer.status_code == 422 and "idempotency_key_reused" in answer.text


class DrillClient:
    """Asks one question and sees to its readers."""

    def __init__(
        self,
        plan: Plan,
        question: Question,
        http: httpx2.Client,
        timers: Mapping[str, RaceTimer],
    ) -> None:
        self.plan = plan
        self.timers = timers
        self.question = question
        self.http = http
        self.rng = random.Random(f"{plan.seed} {question.number} reader")  # noqa: S311
        self.answers = [answer.body for answer in question.answers(CALLS_MAX)]
        self.observation = Observation(question.number)

    def run(self) -> Observation:
        """From the question to its end. What must not be is among the observation's violations."""
        seen = self.observation
        try:
            while not self._ask_and_read():
                if len(seen.went_back) > LOST_MAX:
                    raise PromiseBroken("it is lost again and again")
        except PromiseBroken as broken:
            self._violation(str(broken))
        except Exception as error:  # noqa: BLE001 - a drill that stumbles must not look like one that passed
            self._violation(f"the drill itself: {error!r}")
        if seen.went_back or not seen.known_at:
            seen.known_at = time.time()
        return seen

    def _ask_and_read(self) -> bool:
        """Returns False if the question was lost, and has to be asked again."""
        try:
            if self.question.by_chat:
                self._by_chat()
                return True
            self._ask()
            if self.question.reaches:
                Rendezvous(
                    self.plan,
                    self.question,
                    self.observation,
                    rng=self.rng,
                    timers=self.timers,
                    fetch=self.fetch,
                ).run()
            self._read()
        except NotFound as lost:
            self.went_back(f"{lost} is gone")
            return False
        return True

    def _violation(self, what: str) -> None:
        self.observation.violations.append(what)

    def went_back(self, what: str) -> None:
        """Note a change that only a failover explains; the verifier knows whether there was one."""
        self.observation.went_back.append(what)

    # --- asking

    def _ask(self) -> None:
        """Ask as a good client does: again with the same key until there is an answer."""
        seen = self.observation
        seen.asked_at = seen.asked_at or time.time()
        seen.stopped = False
        conversation = self._until_accepted("/api/conversations", {}, 201)["id"]
        path = f"/api/conversations/{conversation}/messages"
        key = f"{self.plan.run} {self.question.number}"
        body = {"content": self.question.text, "parent_id": None}
        try:
            seen.id = self._until_accepted(path, body, 202, key)["assistant"]["id"]
        except KeyReused:  # it was gone from the old primary only, and is read on
            seen.taken_at = time.time()
            return
        if self.question.twice:
            again = self._until_accepted(path, body, 202, key)["assistant"]["id"]
            if again != seen.id:
                self.went_back("the same Idempotency-Key made another message")
                seen.id = again
        seen.taken_at = time.time()

    def _until_accepted(self, path: str, body: Any, good: int, key: str = "") -> Any:
        deadline = time.monotonic() + ASKING_SECONDS
        headers = {"Idempotency-Key": key} if key else {}
        while time.monotonic() < deadline:
            self.observation.sent += bool(key)
            answer = self._post(path, body, headers)
            if answer is not None and answer.status_code == good:
                return answer.json()
            if answer is not None and answer.status_code == 404:
                raise NotFound("what a POST was about")
            if answer is not None and self.observation.went_back and _key_is_reused(answer):
                raise KeyReused
            if answer is not None and answer.status_code != 503:
                raise PromiseBroken(
                    f"POST {path.rpartition('/')[2]}: HTTP {answer.status_code} {answer.text[:200]}"
                )
            if answer is not None and "Retry-After" not in answer.headers:
                raise PromiseBroken("a 503 without Retry-After")
            time.sleep(self.rng.uniform(0.1, 0.6))
        raise PromiseBroken(f"not accepted in {ASKING_SECONDS:.0f} s")

    def _post(self, path: str, body: Any, headers: Any) -> httpx2.Response | None:
        with suppress(httpx2.TransportError):
            return self.http.post(self._url() + path, json=body, headers=headers)
        return None

    def _url(self) -> str:
        return self.rng.choice(self.plan.urls)

    def fetch(self) -> dict[str, Any] | None:
        """The message as it is now, if it can be had."""
        with suppress(httpx2.TransportError):
            answer = self.http.get(f"{self._url()}/api/messages/{self.observation.id}")
            if answer.status_code == 200:
                return dict(answer.json())
            if answer.status_code == 404:
                raise NotFound("the message")
            if answer.status_code != 503:
                raise PromiseBroken(f"GET message: HTTP {answer.status_code}")
        return None

    def stop(self) -> None:
        """Press Stop, once."""
        if not self.observation.stopped:
            self.observation.stopped = True
            self._until_accepted(f"/api/messages/{self.observation.id}/stop", None, 202)

    # --- by chat completions

    def _by_chat(self) -> None:
        """Have the question asked and the answer read by a client that knows only OpenAI."""
        seen = self.observation
        seen.asked_at = seen.asked_at or time.time()
        seen.stopped = False
        reader = ChatReader(
            self.plan,
            self.question,
            seen,
            answers=self.answers,
            fetch=self.fetch,
            stop=self.stop,
            went_back=self.went_back,
        )
        reader.run()
        seen.known_at = time.time()
        text = self._note_end(self._stored_end())
        reason = {"DONE": seen.finish_reason, "CANCELLED": "stop"}.get(seen.status)
        if reader.finish_reason != reason:
            self.went_back(f"{seen.status} was shown as {reader.finish_reason}")
        self._compare_text(reader.text, text)
        if seen.went_back or seen.lost:
            self._read_again()

    # --- reading

    def _read(self) -> None:
        readers = [self._reader(number) for number in range(self.question.readers)]
        threads = [threading.Thread(target=reader.run) for reader in readers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.observation.known_at = time.time()
        if any(reader.not_found for reader in readers):
            raise NotFound("an answer that was being read")
        self._compare(readers)

    def _reader(self, number: int) -> AnswerReader:
        return AnswerReader(
            self.plan,
            self.question,
            self.observation,
            number,
            answers=list(self.answers),
            fetch=self.fetch,
            stop=self.stop,
        )

    def _compare(self, readers: list[AnswerReader]) -> None:
        """Compare every reader, its proof of the end and the stored message: they must agree."""
        seen = self.observation
        ended = [reader for reader in readers if reader.reading.end is not None]
        if not ended:
            return
        message = self._stored_end()
        text = self._note_end(message)
        for reader in ended:
            self._compare_one(reader.reading, message, text)
        if seen.went_back or seen.lost:
            self._read_again()

    def _note_end(self, message: dict[str, Any]) -> str:
        """Note how the message ended; its text."""
        seen = self.observation
        text = "".join(part["text"] for part in message["parts"])
        error = message["error"] or {}
        seen.status, seen.code = message["status"], error.get("code")
        seen.finish_reason, seen.length = message["finish_reason"], message["length"]
        if (message["length"], message["sha256"]) != proof(text):
            self._violation("the message's proof does not fit its own text")
        return text

    def _compare_one(self, reading: Reading, message: dict[str, Any], text: str) -> None:
        """Check that a reader has the message, or that its own end says that it has not."""
        end, shown = reading.end or {}, reading.text
        if end != {name: message[name] for name in end}:
            self.went_back("a reader got another end than the message has")
        if reading.proven and not any(continues(answer, shown) for answer in self.answers):
            self._violation("the proof of an end fits text of two answers")
        self._compare_text(shown, text)

    def _compare_text(self, shown: str, text: str) -> None:
        if shown != text and shown.startswith(text):
            self.observation.lost = max(self.observation.lost, len(shown) - len(text))
        elif shown != text:
            self.went_back(f"a reader saw {len(shown)} characters that are not the answer's")

    def _read_again(self) -> None:
        """Check that a new reader has the stored message, whatever was before."""
        deadline = time.monotonic() + TRUTH_SECONDS
        while time.monotonic() < deadline:
            reading = Reading(self.observation.id, self.plan.urls, DEAD).to_end(ANSWER_SECONDS)
            text = self._note_end(self._stored_end())
            if reading.text == text and reading.proven:
                return
        raise PromiseBroken("reading again does not give the answer")

    def _stored_end(self) -> dict[str, Any]:
        """The message, which has ended. If it is open again, wait until it has ended again."""
        deadline = time.monotonic() + ANSWER_SECONDS
        message = self._stored()
        if message["status"] in OPEN:
            self.went_back("it had ended, and is open again")
        while message["status"] in OPEN:
            if time.monotonic() > deadline:
                raise PromiseBroken("it is open again, and does not end")
            time.sleep(0.2)
            message = self._stored()
        return message

    def _stored(self) -> dict[str, Any]:
        deadline = time.monotonic() + ASKING_SECONDS
        while time.monotonic() < deadline:
            message = self.fetch()
            if message is not None:
                return message
            time.sleep(0.2)
        raise PromiseBroken("the message could not be fetched")
