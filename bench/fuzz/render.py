"""A fuzzer for what the page is shown: texts that hold the event loop, or take too much memory.

    python -m bench.fuzz render [--seconds 60] [--seed N] [--text FILE]

Each text (`render_texts`) goes through the real code twice: as an answer that grows in pieces
while a reader follows it, and as one that has ended and is opened as a whole. What must hold:

* No turn of the loop takes more than MAX_TURN seconds of CPU time.
* The blocks are the same both ways, and their texts joined are the text. (Where a parse is given
  up, which depends on the machine, a block may end elsewhere: then only the latter is judged.)
* The memory that stays, besides the text itself, is at most 4 x the text and 1 MiB.

The slowest texts so far are changed again and again: what costs more than its parent takes its
place. Everything but time follows from the seed. A text that is too slow is tried again before it
counts, because the machine may have been busy.
"""

import argparse
import gc
import json
import random
import sys
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import gevent
from markdown_it.token import Token

from bench.fuzz.render_texts import USUAL_CHARS, Grammar, Snippets
from shared import gc_tuning
from shared.body import Body
from shared.lifecycle import Status
from shared.sse import Decoder
from shared.store.messages import Message
from shared.watchdog import Watchdog
from web.faces import blocks
from web.following.face import Then, Written
from web.following.message_topic import MessageTopic
from web.page import markdown, structure
from web.page.render_cache import BlockPlace, BlockSource, RenderCache

#: Seconds of CPU time that one turn of the loop may take.
MAX_TURN: Final = 0.050
#: Bytes that may stay of an answer: for each byte of its text, and besides.
BYTES_PER_BYTE: Final = 4
BYTES_BESIDES: Final = 1 << 20
#: Tries after the first one before a text counts as too slow.
RETRIES: Final = 2
#: How many of the slowest texts are kept; and the share of texts that are new instead of changed.
SLOWEST: Final = 40
FRESH: Final = 0.5
#: Memory is measured of one text in MEASURED: tracemalloc makes everything several times as slow.
MEASURED: Final = 25
#: Snippets of code that are tried before the first text, and before each other text.
SEARCH_FIRST, SEARCH = 8_000, 200
#: Bytes of blocks in a page.
PAGE: Final = 64 << 10

#: Blocks as (text, HTML).
Shown = list[tuple[str, str]]


# --- the real code -------------------------------------------------------------------------------


class Loop:
    """Runs work in the event loop and measures the longest turn."""

    def __init__(self) -> None:
        self._watchdog = Watchdog()
        self._watchdog.begin()

    def run(self, work: Callable[[], Shown]) -> tuple[Shown, float]:
        """Run the work in a greenlet of its own, as a server does; the longest turn in seconds."""
        gevent.sleep(0.003)
        self._watchdog.longest = 0.0
        found = gevent.spawn(work).get()
        gevent.sleep(0.003)  # the last turn must end, too
        return found, self._watchdog.longest


def growing(pieces: Sequence[str]) -> Shown:
    """What a reader gets who follows an answer while it is written."""
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    source, place = RenderCache().of(topic), blocks.FACE.start
    data = b""
    for piece in filter(None, pieces):
        topic.body.write("text", piece)
        topic.notify()
        source.due = 0.0
        frames, place, then = _written(source, place)
        data += frames
    topic.finish(message(topic.body))
    then = Then.WAIT
    while then is not Then.ENDED:
        frames, place, then = _written(source, place)
        data += frames
        if not frames:  # blocks that are not kept are rendered again by a greenlet of their own
            gevent.sleep(0)
    events = [event for event in Decoder(limit=1 << 24).feed(data) if event.event == "blocks"]
    found = [block for event in events for block in json.loads(event.data)["blocks"]]
    return [(block["text"], block["html"]) for block in found]


def _written(source: BlockSource, place: BlockPlace) -> Written[BlockPlace]:
    """What a reader at `place` gets now, rendered as far as may be."""
    data, then = b"", Then.MORE
    if source.is_behind() and not source.pause():
        source.refresh()
    while then is Then.MORE:
        frames, place, then = source.frames(blocks.FACE, place)
        data += frames
    return data, place, then


@contextmanager
def parses() -> Iterator[list[bool]]:
    """Whether each parse of a text was finished within its limit."""
    finished: list[bool] = []

    def observed(source: str) -> list[Token]:
        found = markdown.block_tokens(source)
        finished.append(bool(found) or not source.strip())
        return found

    with patch.object(structure, "block_tokens", observed):
        yield finished


def opened(render_cache: RenderCache, ended: Message) -> Shown:
    """What a reader gets who opens an answer that has ended."""
    found: Shown = []
    position: int | None = 0
    while position is not None:
        lines, position = render_cache.pages(ended).page(position, PAGE)
        blocks = [json.loads(line) for line in lines]
        found += [(block["text"], block["html"]) for block in blocks]
    return found


def message(body: Body) -> Message:
    """An answer that has ended."""
    fields: dict[str, Any] = dict.fromkeys(Message.__dataclass_fields__)
    fields |= {"id": uuid.uuid4(), "role": "assistant", "status": Status.DONE, "body": body}
    fields |= {"length": body.length, "attempt": 1, "ended_at": 0}
    return Message(**fields)


def kept_bytes(text: str) -> int:
    """Bytes that stay after rendering a text, without the text itself."""
    body = Body()
    body.write("text", text)
    ended, render_cache = message(body), RenderCache()
    gc.collect()
    tracemalloc.start()
    try:
        position: int | None = 0
        while position is not None:
            _, position = render_cache.pages(ended).page(position, PAGE)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


# --- judging -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A text that broke a promise, and which promise."""

    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The longest turn that a text took, and the promise that it broke."""

    turn: float
    fault: Fault | None = None


class Fuzzer:
    """Makes texts from a seed and judges them."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._snippets = Snippets(self._chance)
        self._grammar = Grammar(self._chance, self._snippets)
        self._loop = Loop()
        self._slowest: list[tuple[float, str]] = []
        self.tried = 0
        self.longest = 0.0
        self.heaviest = 0.0

    def step(self) -> Fault | None:
        """Make and judge one text."""
        chance, slowest = self._chance, self._slowest
        self._snippets.search(SEARCH if self.tried else SEARCH_FIRST)
        if not slowest or chance.random() < FRESH:
            text = self._grammar.text()
        else:
            (_, text), (_, other) = chance.choice(slowest), chance.choice(slowest)
            for _ in range(chance.randint(1, 3)):
                text = self._grammar.changed(text, other)
        judged = self.judge(text, measure_memory=self.tried % MEASURED == 0)
        self.tried += 1
        self.longest = max(self.longest, judged.turn)
        # Short ones count more than long ones: they can be tried more often, and read.
        slowest.append((judged.turn / (1 + len(text) / USUAL_CHARS), text))
        slowest.sort(key=lambda one: -one[0])
        del slowest[SLOWEST:]
        return judged.fault

    def judge(self, text: str, *, measure_memory: bool = True) -> Judged:
        """Render a text both ways and compare with what must hold."""
        pieces = self._grammar.cuts(text)
        judged = self._rendered(text, pieces)
        for _ in range(RETRIES):
            if judged.turn <= MAX_TURN:
                break
            again = self._rendered(text, pieces)
            judged = replace(judged, turn=min(judged.turn, again.turn))
        if judged.fault is None and judged.turn > MAX_TURN:
            what = f"a turn of {judged.turn * 1000:.0f} ms"
            judged = replace(judged, fault=Fault(what, text))
        if judged.fault is None and measure_memory:
            judged = replace(judged, fault=self._too_heavy(text))
        return judged

    def _rendered(self, text: str, pieces: Sequence[str]) -> Judged:
        body = Body()
        body.write("text", text)
        ended, render_cache = message(body), RenderCache()
        with parses() as finished:
            followed, one_turn = self._loop.run(lambda: growing(pieces))
            whole, other_turn = self._loop.run(lambda: opened(render_cache, ended))
        fault, texts = None, [[text for text, _ in shown] for shown in (followed, whole)]
        if any("".join(each) != text for each in texts):
            fault = Fault("the blocks are not the text", text)
        elif texts[0] != texts[1] and all(finished):
            fault = Fault("other blocks when it comes in pieces", text)
        return Judged(max(one_turn, other_turn), fault)

    def _too_heavy(self, text: str) -> Fault | None:
        size, most = kept_bytes(text), BYTES_PER_BYTE * len(text.encode()) + BYTES_BESIDES
        self.heaviest = max(self.heaviest, size / most)
        return Fault(f"{size} bytes stay, of {most}", text) if size > most else None


def run(seconds: float, seed: int) -> tuple[Fuzzer, Fault | None]:
    """Fuzz for `seconds`, or until a fault is found."""
    markdown.prepare()
    gc_tuning.freeze()  # as a web process does before it serves
    fuzzer = Fuzzer(seed)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        fault = fuzzer.step()
        if fault is not None:
            return fuzzer, fault
    return fuzzer, None


def main(arguments: list[str]) -> int:
    """0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz render", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--text", help="judge this file, and nothing else")
    options = parser.parse_args(arguments)
    if options.text:
        markdown.prepare()
        text = Path(options.text).read_bytes().decode()
        judged = Fuzzer(options.seed).judge(text)
        print(f"{judged.turn * 1000:.0f} ms, {judged.fault.what if judged.fault else 'fine'}")
        return int(judged.fault is not None)
    fuzzer, fault = run(options.seconds, options.seed)
    print(
        f"seed {options.seed}: {fuzzer.tried} texts, longest turn {fuzzer.longest * 1000:.0f} ms,"
        f" most memory {fuzzer.heaviest:.0%} of what is allowed"
    )
    if fault is None:
        return 0
    print(
        f"FOUND {fault.what}: {fault.text[:2000]!r} ({len(fault.text)} characters)", file=sys.stderr
    )
    return 1
