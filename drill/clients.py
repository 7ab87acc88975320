"""People who ask and read: `python -m drill.clients`, a process of its own.

So the drill can start other processes meanwhile (a fork beside threads may hang). Told what to do
by its argument, a `Task` as JSON; says one line of JSON for each answer, `Seen`, and "calm is over"
behind the rendezvous.
"""

import json
import random
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import httpx2

from drill.questions import Question, continues, question
from drill.reading import Disconnected, PromiseBroken, Reading, StreamConnection, proof
from scripted import Control
from shared.sse import Event

OPEN = ("SENDING", "STREAMING")
#: Seconds that a request may take, and that all tries of one question may.
REQUEST_SECONDS: Final = 15.0
ASKING_SECONDS: Final = 120.0
#: Seconds without a byte after which a connection is dead; without news, the row is looked at.
DEAD: Final = 10.0
SILENT: Final = 3.0
#: Seconds after we saw an end at which a connected reader must have it, whatever is broken.
END_LATE: Final = 8.0
#: Seconds in which the text of a rendezvous must be there: less than a look at what is silent.
LATE: Final = 2.0
#: So many rendezvous at a time, and seconds by which their moment is spread and corrected.
CALM_PEOPLE, AIM_SPREAD, AIM_STEP = 4, 0.001, 0.0005
#: Seconds that one answer may take from question to end.
ANSWER_SECONDS: Final = 180.0
#: How often a question may be gone with a database that went back, and is asked again.
GONE_MAX: Final = 5
#: Calls of the provider that a question may have cost at that.
CALLS_MAX: Final = 12
#: Seconds in which a new reader has the truth of an answer that was another one before.
TRUTH_SECONDS: Final = 20.0
#: What a reader does about it: a share of connections is cut behind so many bytes at most.
CUT_SHARE, CUT_BYTES = 0.8, 5000


@dataclass(frozen=True)
class Task:
    """What the people are told."""

    urls: list[str]
    #: the scripted provider's address, where there are rendezvous
    provider: str
    seed: int
    run: str
    generations: int
    people: int
    #: how many of the questions are rendezvous: the first ones
    rendezvous: int

    def question(self, number: int) -> Question:
        """One of the questions."""
        return question(self.seed, number, rendezvous=self.rendezvous, run=self.run)

    def questions(self) -> dict[int, Question]:
        """All of them, by number."""
        return {number: self.question(number) for number in range(self.generations)}


@dataclass
class Seen:
    """What became of one question, as its readers saw it. Times are the wall clock's."""

    number: int
    id: str = ""
    asked_at: float = 0.0
    #: when the question was confirmed
    taken_at: float = 0.0
    #: when the last reader knew the end
    known_at: float = 0.0
    status: str = ""
    code: str | None = None
    finish_reason: str | None = None
    #: code points of the answer, and the most that any reader was shown
    length: int = 0
    shown: int = 0
    #: code points that a reader was shown and that are not in the answer
    lost: int = 0
    stopped: bool = False
    #: requests for the stream; how many we cut, and how many of them while it was written
    connections: int = 0
    cuts: int = 0
    cuts_running: int = 0
    #: how often the question was sent
    sent: int = 0
    rendezvous: int = 0
    #: what only a database that went back explains
    went_back: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


class Gone(Exception):
    """It is a 404: what was there is not there any more. The message says what."""


class Person:
    """Asks one question and sees to its readers."""

    def __init__(
        self, task: Task, asked: Question, http: httpx2.Client, aims: Mapping[str, "Aim"]
    ) -> None:
        self.task = task
        self.aims = aims
        self.question = asked
        self.http = http
        self.dice = random.Random(f"{task.seed} {asked.number} reader")  # noqa: S311
        self.answers = [answer.body for answer in asked.answers(CALLS_MAX)]
        self.seen = Seen(asked.number)

    def live(self) -> Seen:
        """The whole story; what must not be is among its violations."""
        seen = self.seen
        try:
            while not self._lived():
                if len(seen.went_back) > GONE_MAX:
                    raise PromiseBroken("it is gone again and again")
        except PromiseBroken as broken:
            self._complain(str(broken))
        except Exception as error:  # noqa: BLE001 - a drill that stumbles must not look like one that passed
            self._complain(f"the drill itself: {error!r}")
        if seen.went_back or not seen.known_at:
            seen.known_at = time.time()
        return seen

    def _lived(self) -> bool:
        """From the question to its end; False if it is gone, and has to be asked again."""
        try:
            self._ask()
            if self.question.reaches:
                self._rendezvous()
            self._read()
        except Gone as gone:
            self.went_back(f"{gone} is gone")
            return False
        return True

    def _complain(self, what: str) -> None:
        self.seen.violations.append(what)

    def went_back(self, what: str) -> None:
        """Something is not as it was. The judge knows whether a failover explains it."""
        self.seen.went_back.append(what)

    # --- asking

    def _ask(self) -> None:
        """As a good client: again with the same key until there is an answer."""
        seen = self.seen
        seen.asked_at = seen.asked_at or time.time()
        seen.stopped = False
        place = self._until_answered("/api/conversations", {}, 201)["id"]
        path = f"/api/conversations/{place}/messages"
        key = f"{self.task.run} {self.question.number}"
        body = {"content": self.question.text, "parent_id": None}
        seen.id = self._until_answered(path, body, 202, key)["assistant"]["id"]
        if self.question.twice:
            again = self._until_answered(path, body, 202, key)["assistant"]["id"]
            if again != seen.id:
                self.went_back("the same Idempotency-Key made another message")
                seen.id = again
        seen.taken_at = time.time()

    def _until_answered(self, path: str, body: Any, good: int, key: str = "") -> Any:
        deadline = time.monotonic() + ASKING_SECONDS
        headers = {"Idempotency-Key": key} if key else {}
        while time.monotonic() < deadline:
            self.seen.sent += bool(key)
            answer = self._post(path, body, headers)
            if answer is not None and answer.status_code == good:
                return answer.json()
            if answer is not None and answer.status_code == 404:
                raise Gone("what a POST was about")
            if answer is not None and answer.status_code != 503:
                raise PromiseBroken(
                    f"POST {path.rpartition('/')[2]}: HTTP {answer.status_code} {answer.text[:200]}"
                )
            if answer is not None and "Retry-After" not in answer.headers:
                raise PromiseBroken("a 503 without Retry-After")
            time.sleep(self.dice.uniform(0.1, 0.6))
        raise PromiseBroken(f"not accepted in {ASKING_SECONDS:.0f} s")

    def _post(self, path: str, body: Any, headers: Any) -> httpx2.Response | None:
        with suppress(httpx2.TransportError):
            return self.http.post(self._url() + path, json=body, headers=headers)
        return None

    def _url(self) -> str:
        return self.dice.choice(self.task.urls)

    def look(self) -> dict[str, Any] | None:
        """The message as it is now, if it can be had."""
        with suppress(httpx2.TransportError):
            answer = self.http.get(f"{self._url()}/api/messages/{self.seen.id}")
            if answer.status_code == 200:
                return dict(answer.json())
            if answer.status_code == 404:
                raise Gone("the message")
            if answer.status_code != 503:
                raise PromiseBroken(f"GET message: HTTP {answer.status_code}")
        return None

    # --- reading

    def _read(self) -> None:
        readers = [Reader(self, number) for number in range(self.question.readers)]
        threads = [threading.Thread(target=reader.run) for reader in readers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seen.known_at = time.time()
        if any(reader.gone for reader in readers):
            raise Gone("what somebody was reading")
        self._compare(readers)

    def _compare(self, readers: list["Reader"]) -> None:
        """All readers, the end's proof and a fresh look: one truth."""
        seen = self.seen
        ended = [reader for reader in readers if reader.reading.end is not None]
        if not ended:
            return
        message = self._stored_end()
        text = self._told(message)
        for reader in ended:
            self._compare_one(reader.reading, message, text)
        if seen.went_back or seen.lost:
            self._read_again()

    def _told(self, message: dict[str, Any]) -> str:
        """Note how it ended; its text."""
        seen = self.seen
        text = "".join(part["text"] for part in message["parts"])
        error = message["error"] or {}
        seen.status, seen.code = message["status"], error.get("code")
        seen.finish_reason, seen.length = message["finish_reason"], message["length"]
        if (message["length"], message["sha256"]) != proof(text):
            self._complain("the message's proof does not fit its own text")
        return text

    def _compare_one(self, reading: Reading, message: dict[str, Any], text: str) -> None:
        """What one reader has against the message: the same, or its own end says that it is not."""
        end, shown = reading.end or {}, reading.text
        if end != {name: message[name] for name in end}:
            self.went_back("a reader was told another end than the message has")
        if reading.proven and not any(continues(answer, shown) for answer in self.answers):
            self._complain("the proof of an end fits text of two answers")
        if shown != text and shown.startswith(text):
            self.seen.lost = max(self.seen.lost, len(shown) - len(text))
        elif shown != text:
            self.went_back(f"a reader saw {len(shown)} characters that are not the answer's")

    def _read_again(self) -> None:
        """Whoever reads anew has the truth, whatever was before."""
        deadline = time.monotonic() + TRUTH_SECONDS
        while time.monotonic() < deadline:
            reading = Reading(self.seen.id, self.task.urls, DEAD).to_end(ANSWER_SECONDS)
            text = self._told(self._stored_end())
            if reading.text == text and reading.proven:
                return
        raise PromiseBroken("reading again does not give the answer")

    def _stored_end(self) -> dict[str, Any]:
        """The message, which has ended. If it is open again, once it has ended again."""
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
            message = self.look()
            if message is not None:
                return message
            time.sleep(0.2)
        raise PromiseBroken("the message could not be looked at")

    def stop(self) -> None:
        """Press Stop, once."""
        if not self.seen.stopped:
            self.seen.stopped = True
            self._until_answered(f"/api/messages/{self.seen.id}/stop", None, 202)

    # --- a rendezvous

    def _rendezvous(self) -> None:
        """At each web address a reader arrives in the moment of the last text."""
        control = Control(self.task.provider)
        for turn in range(len(self.question.reaches) - 1):
            control.wait_held(self.question.hold(turn))
            self._shown(self.question.reaches[turn])
            self._arrive(control, turn)
        control.release(self.question.hold("end"))

    def _shown(self, position: int) -> None:
        """Wait until so much is published, without following it."""
        deadline = time.monotonic() + LATE
        while time.monotonic() < deadline:
            message = self.look()
            if message is not None and message["position"] >= position:
                return
            time.sleep(0.01)

    def _arrive(self, control: Control, turn: int) -> None:
        url = self.task.urls[turn % len(self.task.urls)]
        reading = Reading(self.seen.id, [url], LATE)
        wanted = self.question.reaches[turn + 1]
        moment = self.aims[url].draw(self.dice)
        release = threading.Thread(
            target=_later, args=(max(0.0, moment), control, self.question.hold(turn))
        )
        release.start()
        time.sleep(max(0.0, -moment))
        arrived, frames = time.monotonic(), 0
        with suppress(Disconnected, OSError), reading.open() as connection:
            for event in connection.events():
                reading.take(event)
                frames += 1
                if len(reading.text) >= wanted:
                    break
        release.join()
        self.aims[url].learn(early=frames == 1)
        self.seen.rendezvous += 1
        if len(reading.text) < wanted or time.monotonic() - arrived > LATE:
            self._complain(f"a reader came as the last text did, and had none of it in {LATE} s")


class Aim:
    """When the last text should be let go so that it comes while a reader is being let in.

    Text that came too early is in the reader's first frame, text that came too late in one of its
    own. Between the two lies the moment in which it can fall through, so that is aimed at.
    """

    def __init__(self) -> None:
        self._moment = 0.002
        self._lock = threading.Lock()

    def draw(self, dice: random.Random) -> float:
        """Seconds from the reader's request to the text; below zero, from the text to it."""
        return dice.gauss(self._moment, AIM_SPREAD)

    def learn(self, *, early: bool) -> None:
        """How it went."""
        with self._lock:
            self._moment += AIM_STEP if early else -AIM_STEP


def _later(seconds: float, control: Control, name: str) -> None:
    time.sleep(seconds)
    control.release(name)


class Reader:
    """One reader of an answer: cut often, back at once, checking every frame."""

    def __init__(self, person: Person, number: int) -> None:
        self.person = person
        self.dice = random.Random(f"{person.task.seed} {person.question.number} {number}")  # noqa: S311
        self.reading = Reading(person.seen.id, person.task.urls, DEAD)
        self.candidates = list(person.answers)
        #: whether it was shown text of two answers
        self.strayed = False
        #: whether there is nothing to be read any more
        self.gone = False
        #: when a look said that it has ended, although this connection did not; monotonic seconds
        self._ended: float | None = None

    def run(self) -> None:
        """Read to the end."""
        try:
            self._to_end()
        except Gone:
            self.gone = True
        except PromiseBroken as broken:
            self.person.seen.violations.append(str(broken))
        except Exception as error:  # noqa: BLE001 - see Person.live
            self.person.seen.violations.append(f"the drill's reader: {error!r}")
        self.person.seen.connections += self.reading.connections
        self.person.seen.shown = max(self.person.seen.shown, len(self.reading.text))

    def _to_end(self) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while self.reading.end is None:
            if time.monotonic() > deadline:
                raise PromiseBroken(f"no end in {ANSWER_SECONDS:.0f} s")
            retry = self._once()
            if self.reading.end is None:
                time.sleep(self.dice.choice([0.0, 0.0, retry / 1000]))

    def _once(self) -> int:
        """One connection; the milliseconds after which to come back."""
        cut_after = None
        if self.dice.random() < CUT_SHARE:
            cut_after = self.dice.randrange(1, CUT_BYTES)
        try:
            with self.reading.open() as connection:
                if connection.status == 404:
                    raise Gone("its stream")
                if connection.status != 200:
                    raise PromiseBroken(f"the stream route said {connection.status}")
                self._follow(connection, cut_after)
                return connection.decoder.retry or 200
        except Disconnected:
            self.person.seen.cuts += cut_after is not None
            self.person.seen.cuts_running += cut_after is not None and self.reading.end is None
        except OSError:
            pass
        return 200

    def _follow(self, connection: StreamConnection, cut_after: int | None) -> None:
        news = time.monotonic()
        self._ended = None
        for data in connection.body(cut_after=cut_after):
            for event in connection.decoder.feed(data):
                self._take(event)
                news = time.monotonic()
            if time.monotonic() - news > SILENT:
                self._end_is_not_late()
                news = time.monotonic()

    def _take(self, event: Event) -> None:
        before = len(self.reading.text)
        self.reading.take(event)
        new = self.reading.text[before:]
        fitting = [one for one in self.candidates if continues(one, new, before)]
        if not fitting and not self.strayed:
            self.strayed = True
            self.person.went_back(f"at {before}: text that the provider did not say there")
        self.candidates = fitting or self.candidates
        stop_at = self.person.question.stop_at
        if stop_at is not None and len(self.reading.text) >= stop_at:
            self.person.stop()

    def _end_is_not_late(self) -> None:
        message, now = self.person.look(), time.monotonic()
        if message is None or message["status"] in OPEN:
            self._ended = None
            return
        self._ended = self._ended or now
        if now - self._ended > END_LATE:
            raise PromiseBroken("the answer has ended, and a connected reader was not told")


def main() -> None:
    """Ask everything that the task says, the rendezvous first."""
    task = Task(**json.loads(sys.argv[1]))
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    with httpx2.Client(timeout=REQUEST_SECONDS, limits=limits, trust_env=False) as http:

        def live(number: int) -> None:
            say(asdict(Person(task, task.question(number), http, aims).live()))

        aims = {url: Aim() for url in task.urls}
        calm = task.rendezvous
        for numbers, people in (
            (range(calm), CALM_PEOPLE),
            (range(calm, task.generations), task.people),
        ):
            with ThreadPoolExecutor(people) as pool:
                list(pool.map(live, numbers))
            say("calm is over")


_SAYING = threading.Lock()


def say(value: object) -> None:
    """One line, whole."""
    with _SAYING:
        print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
