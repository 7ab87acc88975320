"""The workloads, one function each: what is asked and read, and when what is measured.

Every function does its work on one target and returns numbers by name. A number that counts
something wrong has a name that begins with "wrong": nothing may be.
"""

import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.road.load import MISSES, Ask, Job, Read
from bench.road.provider import prompt
from bench.road.targets import Load, Target, Us
from bench.road.wire import BLOCK, SECOND

#: Seconds from sending a job until it begins.
SOON: Final = 0.3
#: Seconds in which a target that was asked too much may catch up, and until it counts as quiet.
PATIENCE: Final = 30.0
QUIET: Final = 60.0
#: The share of a processor below which a target does nothing.
IDLE: Final = 0.08
STREAMS: Final = 200
#: Seconds in which the streams begin, and from then until they are measured.
RAMP: Final = 5.0
SETTLED: Final = 2.0
#: Chunks a second of a stream while others still begin.
SLOW: Final = 5.0
#: The search for the highest rate: its first stair, the next one's ratio, milliseconds that a
#: rate may cost, and stairs.
FIRST_STAIR: Final = 1500.0
STAIR: Final = 1.2
LIMIT: Final = 250.0
STAIRS: Final = 19
STAIR_SECONDS: Final = 2.5
#: Starts a second, and how many.
STARTS: Final = {4: 32, 20: 100, 100: 200, 200: 200}
#: Seconds from a start until nothing of it is left to do, but for its stream.
STARTED: Final = 1.0
#: Whole answers: chunks, how many a second, and how many answers begin at how many a second.
WHOLE: Final = 500
WHOLE_RATE: Final = 50.0
WHOLES: Final = {1: 8, 20: 100, 100: 200}
#: A level of the search with fresh streams: seconds in which they begin, and are measured.
FRESH_RAMP: Final = 1.0
FRESH_SECONDS: Final = 2.5
#: A mixed load: answers, who follows each besides its client, who returns and who asks, how often.
MIXED_ANSWERS: Final = 20
MIXED_FOLLOWERS: Final = 7
MIXED_OTHERS: Final = 20
MIXED_SECONDS: Final = 10.0
MIXED_RATE: Final = 20.0
MIXED_CHUNKS: Final = 80
#: Readers that do nothing, return, are connected.
IDLE_READERS: Final = 1000
STORM: Final = 500
STORM_ANSWERS: Final = 50
STORM_BLOCKS: Final = 1600
CONNECTED: Final = 5000
#: Characters of a long answer and of the short one that it is compared with; blocks a second.
LONG: Final = 1_000_000
SHORT: Final = 100_000
LONG_RATE: Final = 3000.0
#: The stalled reader's answer: blocks an event, a megabyte a second; the others beside it.
WIDE: Final = 32
WIDE_RATE: Final = 1_000_000 / (WIDE * BLOCK)
OTHERS: Final = 20
OTHERS_RATE: Final = 20.0

Numbers = dict[str, float]
#: When, what is wanted of the provider, and what else an `Ask` has.
Asked = tuple[int, dict[str, Any], dict[str, Any]]


@dataclass
class Bench:
    """What a workload has: a target, the load client, and how long the stalled one is."""

    #: starts the target anew if it has to be fresh
    provide: Callable[[bool], Target]
    load: Load
    stall_seconds: float = 60.0

    def __post_init__(self) -> None:
        self.target = self.provide(False)

    def renew(self) -> None:
        """A target that has done nothing yet."""
        self.target = self.provide(True)

    def run(
        self,
        asks: Sequence[Asked],
        until: int,
        *,
        measurements: Sequence[tuple[int, Callable[[], None]]] = (),
        ended: Callable[[], None] = lambda: None,
        **job: Any,
    ) -> dict[str, Any]:
        """Ask all of (when, prompt, more), measure at moments and when all has `ended`; what the
        load client reports."""
        questions = self.target.questions([prompt(**wanted) for _, wanted, _ in asks])
        made = [
            Ask(at, wanted["tag"], path, body, **more)
            for (at, wanted, more), (path, body) in zip(asks, questions, strict=True)
        ]
        self.load.begin(Job(self.target.road, made, until, **job))
        for moment, measure in measurements:
            time.sleep(max(0.0, (moment - time.monotonic_ns()) / SECOND))
            measure()
        found = self.load.outcome()
        ended()
        # An answer without a reader goes on being written.
        with urllib.request.urlopen(f"{self.target.provider_root}/end") as answer:
            answer.read()
        self.settle()
        return found

    def settle(self) -> None:
        """Until the target does nothing any more."""
        deadline = time.monotonic() + QUIET
        while time.monotonic() < deadline:
            before, begun = sum(self.target.cpu().values()), time.monotonic()
            time.sleep(0.5)
            spent = sum(self.target.cpu().values()) - before
            if spent < IDLE * (time.monotonic() - begun):
                return


def begin(asks: int = 0) -> int:
    """The moment at which a workload begins, once `asks` questions are prepared."""
    return time.monotonic_ns() + int((SOON + asks * 0.02) * SECOND)


def after(moment: int, seconds: float) -> int:
    """The moment `seconds` later."""
    return moment + int(seconds * SECOND)


def _seen(
    measure: Callable[[], dict[str, float]], moments: Sequence[int]
) -> tuple[list[tuple[int, Callable[[], None]]], list[dict[str, float]]]:
    """Measurements at these moments, and the list that will have what they found."""
    seen: list[dict[str, float]] = []
    return [(moment, lambda: seen.append(measure())) for moment in moments], seen


def _proof(found: dict[str, Any]) -> Numbers:
    for fault in found["faults"]:
        print(f"    {found['number_of_faults']} faults: {fault}", flush=True)
    return {
        "wrong": found["wrong"],
        "wrong_faults": found["number_of_faults"],
        "unfinished": found["unfinished"],
        "exact": found["exact"],
    }


def _costs(spent: Sequence[Numbers], units: float) -> Numbers:
    """Milliseconds of the processor that a unit took between two measurements, by part."""
    before, afterwards = spent
    return {part: (afterwards[part] - before[part]) * 1000 / units for part in before}


def _steady(bench: Bench, streams: int, rate: float, ramp: float, seconds: float) -> Numbers:
    """Streams at a rate each; what their chunks had to wait, and what they cost."""
    first = begin(streams)
    # How fast a target starts is measured by `starts`: here all have begun, at a slow rate.
    window = after(first, ramp + SETTLED), after(first, ramp + SETTLED + seconds)
    stop = after(window[1], 0.3)
    stairs = [(after(first, ramp + SETTLED / 2), min(rate, SLOW)), (stop, rate)]
    asks: list[Asked] = [
        (after(first, ramp * tag / streams), {"tag": tag, "stairs": stairs}, {})
        for tag in range(streams)
    ]
    measurements, spent = _seen(bench.target.cpu, window)
    found = bench.run(asks, after(stop, PATIENCE), windows=[window], measurements=measurements)
    seen = found["groups"]["all"]["windows"][0]
    numbers = {name: seen[name] for name in ("p50", "p95", "p99", "max", "rate")}
    costs = _costs(spent, max(seen["came"], 1) / 1000)
    together = sum(cost for part, cost in costs.items() if part not in bench.target.apart)
    parts = {f"cpu_{part}": cost for part, cost in costs.items()}
    return {**numbers, "cpu": together, **parts, **_proof(found)}


def latency(bench: Bench) -> Numbers:
    """One stream at 100 chunks a second."""
    return _steady(bench, 1, 100.0, 0.5, 8.0)


def cpu(bench: Bench) -> Numbers:
    """200 streams at 10 a second each."""
    return _steady(bench, STREAMS, 10.0, RAMP, 8.0)


def offered(bench: Bench) -> Numbers:
    """200 streams at 50 a second each, whether the target keeps up or not."""
    return _steady(bench, STREAMS, 50.0, RAMP, 6.0)


def highest(bench: Bench) -> Numbers:
    """200 streams, faster and faster, until a 99th percentile is above the limit."""
    first = begin(STREAMS)
    begun = after(first, RAMP + SETTLED)
    rates = [FIRST_STAIR * STAIR**step for step in range(STAIRS)]
    ends = [after(begun, STAIR_SECONDS * (step + 1)) for step in range(STAIRS)]
    # The beginning of a stair is for getting used to it, what is made at its end comes later.
    windows = [(after(end, 0.7 - STAIR_SECONDS), after(end, -LIMIT / 1000)) for end in ends]
    stairs = [(end, rate / STREAMS) for end, rate in zip(ends, rates, strict=True)]
    asks: list[Asked] = [
        (after(first, RAMP * tag / STREAMS), {"tag": tag, "stairs": stairs}, {})
        for tag in range(STREAMS)
    ]
    # A stair counts when it was climbed: what was made came, and in time.
    floors = [0.95 * rate for rate in rates]
    found = bench.run(asks, after(ends[-1], 5.0), windows=windows, limit=LIMIT, floors=floors)
    best = 0.0
    for seen, floor in zip(found["groups"]["all"]["windows"], floors, strict=True):
        if seen["p99"] <= LIMIT and seen["rate"] >= floor:
            best = max(best, seen["rate"])
    # It was left in the middle, so nothing is finished; what came was compared.
    return {"rate": best, "wrong": found["wrong"], "wrong_faults": found["number_of_faults"]}


def fast(bench: Bench) -> Numbers:
    """One stream as fast as it comes: four seconds, or 100,000 chunks."""
    first = begin(1)
    # Its first character comes when the reader is there already.
    wanted = {"tag": 1, "stairs": [(after(first, 5.0), 0.0)], "count": 100_000, "delay": 0.5}
    found = bench.run([(first, wanted, {})], after(first, PATIENCE))
    seen = found["groups"]["all"]
    rate = seen["blocks"] / max(seen["span"], 1e-9)
    return {"rate": rate, "first": seen["firsts"]["max"], **_proof(found)}


def starts(bench: Bench) -> Numbers:
    """200 questions within a second: from the question to its first text."""
    first = begin(STREAMS)
    stop = after(first, 6.0)
    asks: list[Asked] = [
        (after(first, tag / STREAMS), {"tag": tag, "stairs": [(stop, 2.0)], "burst": 1}, {})
        for tag in range(STREAMS)
    ]
    found = bench.run(asks, after(stop, PATIENCE))
    waits = found["groups"]["all"]["waits"]
    return {**{name: waits[name] for name in ("p50", "p95", "max")}, **_proof(found)}


def _starts(rate: int) -> Callable[[Bench], Numbers]:
    def at_rate(bench: Bench) -> Numbers:
        number = STARTS[rate]
        first = begin(number)
        stop = after(first, number / rate + 3.0)
        asks: list[Asked] = [
            (after(first, tag / rate), {"tag": tag, "stairs": [(stop, 10.0)], "burst": 1}, {})
            for tag in range(number)
        ]
        found = bench.run(asks, after(stop, PATIENCE))
        waits = found["groups"]["all"]["waits"]
        return {**{name: waits[name] for name in ("p50", "p99", "max")}, **_proof(found)}

    at_rate.__doc__ = f"{STARTS[rate]} questions, {rate} a second; streams run at 10 a second."
    return at_rate


def start(bench: Bench) -> Numbers:
    """100 questions, 20 a second, whose answers are silent after two chunks: what a start costs."""
    rate = 20
    number = STARTS[rate]
    first = begin(number)
    window = after(first, -0.05), after(first, number / rate + STARTED)
    stairs = [(after(first, 600.0), 1 / 60)]
    asks: list[Asked] = [
        (after(first, tag / rate), {"tag": tag, "stairs": stairs, "burst": 1}, {})
        for tag in range(number)
    ]
    measurements, spent = _seen(bench.target.cpu, window)
    found = bench.run(asks, after(window[1], 0.3), measurements=measurements)
    shown = found["groups"]["all"]["waits"]["number"]
    costs = _costs(spent, number)
    parts = {f"cpu_{part}": cost for part, cost in costs.items()}
    # It was left in the middle, so nothing is finished; what came was compared.
    proof = {"wrong": found["wrong"], "wrong_faults": found["number_of_faults"]}
    return {"cpu": sum(costs.values()), **parts, "wrong_starts": float(shown != number), **proof}


def _whole(rate: int) -> Callable[[Bench], Numbers]:
    def at_rate(bench: Bench) -> Numbers:
        number = WHOLES[rate]
        first = begin(number)
        stairs = [(after(first, 600.0), WHOLE_RATE)]
        asks: list[Asked] = [
            (after(first, tag / rate), {"tag": tag, "stairs": stairs, "count": WHOLE}, {})
            for tag in range(number)
        ]
        measurements, spent = _seen(bench.target.cpu, (after(first, -0.05),))
        until = after(first, number / rate + WHOLE / WHOLE_RATE + PATIENCE)

        def ended() -> None:
            time.sleep(STARTED)  # what is left to do after the last end
            spent.append(bench.target.cpu())

        found = bench.run(asks, until, measurements=measurements, ended=ended)
        costs = _costs(spent, number)
        parts = {f"cpu_{part}": cost for part, cost in costs.items()}
        return {"cpu": sum(costs.values()), **parts, **_proof(found)}

    at_rate.__doc__ = (
        f"{WHOLES[rate]} answers, {rate} a second, of {WHOLE} chunks at {WHOLE_RATE:g} a second:"
        " from the question to the end, Postgres included."
    )
    return at_rate


def fresh(bench: Bench) -> Numbers:
    """200 streams that begin within a second at a rate, once for each rate, faster and faster."""
    best, missed, wrong, faults = 0.0, 0, 0.0, 0.0
    for step in range(STAIRS):
        rate = FIRST_STAIR * STAIR**step
        first = begin(STREAMS)
        window = after(first, FRESH_RAMP + 0.5), after(first, FRESH_RAMP + 0.5 + FRESH_SECONDS)
        stairs = [(after(window[1], 0.5), rate / STREAMS)]
        asks: list[Asked] = [
            (after(first, FRESH_RAMP * tag / STREAMS), {"tag": tag, "stairs": stairs}, {})
            for tag in range(STREAMS)
        ]
        found = bench.run(asks, after(window[1], 5.0), windows=[window])
        wrong, faults = wrong + found["wrong"], faults + found["number_of_faults"]
        seen = found["groups"]["all"]["windows"][0]
        climbed = seen["p99"] <= LIMIT and seen["rate"] >= 0.95 * rate
        best = max(best, seen["rate"]) if climbed else best
        missed = 0 if climbed else missed + 1
        if missed == MISSES:
            break
    return {"rate": best, "wrong": wrong, "wrong_faults": faults}


def mixed(bench: Bench) -> Numbers:
    """160 readers follow 20 answers; 20 others return and 20 ask, twice each."""
    first = begin(MIXED_ANSWERS + 2 * MIXED_OTHERS)
    followed = after(first, 2.0)
    window = after(followed, 1.0), after(followed, 1.0 + MIXED_SECONDS)
    stop = after(window[1], 0.5)
    beat = MIXED_SECONDS / 2 / MIXED_OTHERS
    asks: list[Asked] = [
        (after(first, 0.05 * tag), {"tag": tag, "stairs": [(stop, MIXED_RATE)]}, {})
        for tag in range(MIXED_ANSWERS)
    ]
    short = {"stairs": [(stop, MIXED_RATE)], "burst": 1, "count": MIXED_CHUNKS}
    asks += [
        (
            after(window[0], beat * number),
            {"tag": MIXED_ANSWERS + number, **short},
            {"group": "asking"},
        )
        for number in range(2 * MIXED_OTHERS)
    ]
    reads = [
        Read(followed, number, group="all", number=MIXED_FOLLOWERS)
        for number in range(MIXED_ANSWERS)
    ]
    reads += [
        Read(after(window[0], beat * (number + 0.5)), number % MIXED_ANSWERS, group="returning")
        for number in range(2 * MIXED_OTHERS)
    ]
    measurements, spent = _seen(bench.target.cpu, window)
    found = bench.run(
        asks, after(stop, PATIENCE), reads=reads, windows=[window], measurements=measurements
    )
    groups = found["groups"]
    came = sum(group["windows"][0]["came"] for group in groups.values())
    costs = _costs(spent, max(came, 1) / 1000)
    return {
        "p99": groups["all"]["windows"][0]["p99"],
        "asking": groups["asking"]["waits"]["p50"],
        "returning": groups["returning"]["waits"]["p50"],
        "cpu": sum(costs.values()),
        **_proof(found),
    }


def idle(bench: Bench) -> Numbers:
    """What a reader costs in memory who waits with the others for a silent answer."""
    first = begin(1)
    apart = 0.004
    readers = after(first, 3.0)
    full = after(readers, IDLE_READERS * apart + 3.0)
    measurements, held = _seen(bench.target.memory, (after(readers, -0.3), full))
    found = bench.run(
        [(first, {"tag": 1, "stairs": [(after(full, 1.0), 0.5)], "burst": 2}, {})],
        after(full, PATIENCE),
        reads=[Read(readers, 0, number=IDLE_READERS, apart=int(apart * SECOND))],
        measurements=measurements,
    )
    shown = found["groups"]["readers"]["waits"]["number"]
    parts = {f"bytes_{part}": (held[1][part] - held[0][part]) / IDLE_READERS for part in held[0]}
    together = sum(parts[f"bytes_{part}"] for part in held[0] if part not in bench.target.apart)
    missing = float(shown != IDLE_READERS)
    return {"bytes": together, **parts, "wrong_readers": missing, **_proof(found)}


def storm(bench: Bench) -> Numbers:
    """500 readers come at once to 50 answers that no reader of this process has read."""
    first = begin(STORM_ANSWERS)
    returns = after(first, 4.0)
    stop = after(returns, 8.0)
    asks: list[Asked] = [
        (
            after(first, tag * 0.02),
            {"tag": tag, "stairs": [(stop, 1.0)], "burst": STORM_BLOCKS},
            {"follow": False},
        )
        for tag in range(STORM_ANSWERS)
    ]
    each = STORM // STORM_ANSWERS
    reads = [
        Read(returns, number, number=each, blocks=STORM_BLOCKS) for number in range(STORM_ANSWERS)
    ]
    found = bench.run(asks, after(stop, PATIENCE), reads=reads)
    seen = found["groups"]["readers"]
    missing = float(seen["readers_done"] != STORM or found["exact"] != STORM)
    seconds = (seen["done_at"] - returns) / SECOND
    return {"seconds": seconds, "wrong_readers": missing, **_proof(found)}


def connected(bench: Bench) -> Numbers:
    """5,000 readers of one answer on one web process; a delta a second for each."""
    first = begin(1)
    apart = 0.002
    readers = after(first, 1.0)
    full = after(readers, CONNECTED * apart + 4.0)
    window = full, after(full, 8.0)
    measurements, spent = _seen(bench.target.cpu, window)
    found = bench.run(
        [(first, {"tag": 1, "stairs": [(after(window[1], 1.0), 1.0)], "burst": 1}, {})],
        after(window[1], PATIENCE),
        reads=[Read(readers, 0, number=CONNECTED, apart=int(apart * SECOND))],
        windows=[window],
        measurements=measurements,
    )
    seen = found["groups"]["readers"]["windows"][0]
    missing = float(found["exact"] != CONNECTED + 1)
    numbers = {name: seen[name] for name in ("p50", "p99", "max")}
    cost = (spent[1]["web"] - spent[0]["web"]) * 1e6 / max(seen["came"], 1)
    return {**numbers, "cpu": cost, "wrong_readers": missing, **_proof(found)}


def long(bench: Bench) -> Numbers:
    """An answer of 1,000,000 characters, and ten of 100,000 one after the other."""
    assert isinstance(bench.target, Us)
    target, ratio = bench.target, LONG // SHORT
    pause = SHORT / BLOCK / LONG_RATE + 0.5
    seconds = ratio * pause + 2.0
    numbers: Numbers = {}
    spent: dict[str, dict[str, float]] = {}
    for name, size, answers in (("short", SHORT, ratio), ("long", LONG, 1)):
        target.checkpoint()
        first = begin(answers)
        wanted = {"stairs": [(after(first, 600.0), LONG_RATE)], "count": size // BLOCK}
        asks: list[Asked] = [
            (after(first, pause * number), {"tag": number, **wanted}, {})
            for number in range(answers)
        ]
        moments = after(first, -0.05), after(first, seconds)
        measurements, seen = _seen(lambda: {**target.cpu(), "wal": target.wal()}, moments)
        found = bench.run(asks, after(first, seconds + PATIENCE), measurements=measurements)
        spent[name] = {part: seen[1][part] - seen[0][part] for part in seen[0]}
        for part, value in spent[name].items():
            numbers[f"{name}_{part}"] = value
        for key, value in _proof(found).items():
            numbers[key] = numbers.get(key, 0.0) + value
    parts = [part for part in spent["short"] if part != "wal"]
    total = {name: sum(values[part] for part in parts) for name, values in spent.items()}
    numbers |= {f"ratio_{part}": spent["long"][part] / max(spent["short"][part], 0.01)
                for part in spent["short"]}  # fmt: skip
    numbers["ratio_cpu"] = total["long"] / total["short"]
    numbers["wal_bytes"] = spent["long"]["wal"] / LONG
    return numbers


def stalled(bench: Bench) -> Numbers:
    """A megabyte a second, and others beside it: without, then with a reader who does not read."""
    seconds = bench.stall_seconds
    without = _megabytes(bench, seconds, stalls=False)
    bench.renew()  # or it would live in the memory that the first one left
    slow = _megabytes(bench, seconds, stalls=True)
    numbers = {f"with_{name}": value for name, value in slow.items()}
    numbers |= {f"without_{name}": value for name, value in without.items()}
    numbers["ratio"] = slow["p99"] / without["p99"]
    numbers["growth"] = slow["growth"] - without["growth"]
    for name in ("wrong", "wrong_faults", "unfinished"):
        numbers[name] = numbers.pop(f"with_{name}") + numbers.pop(f"without_{name}")
    return numbers


def _megabytes(bench: Bench, seconds: float, *, stalls: bool) -> Numbers:
    first = begin(OTHERS + 1)
    window = after(first, 2.0), after(first, 2.0 + seconds)
    stop = after(window[1], 0.5)
    wide = {"tag": 99, "stairs": [(stop, WIDE_RATE)], "width": WIDE}
    slow: list[Asked] = [
        (after(first, 0.02 * tag), {"tag": tag, "stairs": [(stop, OTHERS_RATE)]}, {"group": "all"})
        for tag in range(OTHERS)
    ]
    asks: list[Asked] = [(first, wide, {"group": "wide"}), *slow]
    reads = [Read(after(first, 1.0), 0, stalls=window)] if stalls else []
    measurements, held = _seen(bench.target.memory, window)
    found = bench.run(
        asks, after(stop, 60.0), reads=reads, windows=[window], measurements=measurements
    )
    seen = found["groups"]["all"]["windows"][0]
    grown = {part: held[1][part] - held[0][part] for part in held[0]}
    growth = sum(grown[part] for part in ("web", "redis"))
    parts = {f"grown_{part}": value for part, value in grown.items()}
    made = found["groups"]["wide"]["windows"][0]["made"] * BLOCK
    numbers = {"p50": seen["p50"], "p99": seen["p99"], "characters": made, "growth": growth}
    return {**numbers, **parts, "returns": found["returns"], **_proof(found)}


# --- what is reported of them ---------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """What a number of ours has to be: at most (or at least) `factor` times a peer's, or that."""

    factor: float
    peer: str | None = None
    more: bool = False

    def bound(self, peers: Mapping[str, float]) -> float | None:
        """The number itself; None without that peer."""
        if self.peer is None:
            return self.factor
        return self.factor * peers[self.peer] if self.peer in peers else None

    def met(self, ours: float, bound: float) -> bool:
        """Whether it is reached."""
        return ours >= bound if self.more else ours <= bound

    def __str__(self) -> str:
        sign = "≥" if self.more else "≤"
        return f"{sign} {self.factor:g}" + (f" × {self.peer}" if self.peer else "")


@dataclass(frozen=True)
class Row:
    """A line of the table: one number of a workload."""

    label: str
    key: str
    unit: str
    #: what one unit is
    of: float = 1.0
    least: tuple[Goal, ...] = ()
    aim: tuple[Goal, ...] = ()


@dataclass(frozen=True)
class Workload:
    """A function, its targets and the numbers that are reported of it."""

    run: Callable[[Bench], Numbers]
    rows: tuple[Row, ...]
    peers: tuple[str, ...] = ("us", "chat", "passthrough", "follower")
    #: on processes that have just begun
    fresh: bool = False
    #: once is enough: it takes minutes
    once: bool = False


KIB: Final = 1024.0
BOTH: Final = ("us", "follower")
ONLY_US: Final = ("us",)

WORKLOADS: Final[Mapping[str, Workload]] = {
    "latency": Workload(
        latency,
        (
            Row("added latency p50, one stream at 100/s", "p50", "ms",
                least=(Goal(0.85, "follower"), Goal(1.3, "passthrough")),
                aim=(Goal(1.0, "passthrough"),)),
            Row("the same, p99", "p99", "ms"),
        ),
    ),
    "cpu": Workload(
        cpu,
        (
            Row("CPU per 1,000 chunks at 2,000/s", "cpu", "ms",
                # The other way round: by chat completions at most 1.15 x of what ours takes.
                least=(Goal(0.75, "follower"), Goal(0.87, "chat", more=True)),
                aim=(Goal(0.6, "follower"),)),
            Row("latency p99 meanwhile", "p99", "ms"),
        ),
    ),
    "offered": Workload(
        offered,
        (
            Row("latency p99 at 10,000/s offered", "p99", "ms",
                least=(Goal(0.25, "follower"),), aim=(Goal(0.1, "follower"),)),
            Row("delivered at 10,000/s offered", "rate", "/s"),
        ),
    ),
    "highest": Workload(
        highest,
        (
            Row("highest rate with p99 < 250 ms", "rate", "/s",
                least=(Goal(2, "follower", more=True), Goal(5, "passthrough", more=True)),
                aim=(Goal(3, "follower", more=True),)),
        ),
    ),
    "fast": Workload(
        fast,
        (
            Row("one stream as fast as it comes", "rate", "/s",
                least=(Goal(10, "passthrough", more=True), Goal(5, "follower", more=True)),
                aim=(Goal(15, "passthrough", more=True),)),
            Row("its first character", "first", "ms", least=(Goal(20),)),
        ),
    ),
    "idle": Workload(
        idle,
        (
            Row("memory per idle reader", "bytes", "KiB", KIB,
                least=(Goal(0.6, "follower"),), aim=(Goal(16),)),
        ),
        BOTH,
        fresh=True,
    ),
    "storm": Workload(
        storm,
        (
            Row("500 readers return and miss 50 KB", "seconds", "s",
                least=(Goal(0.25, "follower"),), aim=(Goal(0.2, "follower"),)),
        ),
        BOTH,
    ),
    "starts": Workload(
        starts,
        (
            Row("first chunk p50, 200 starts in 1 s", "p50", "ms",
                least=(Goal(1.0, "follower"),), aim=(Goal(2.0, "passthrough"),)),
            Row("the same, p95", "p95", "ms"),
        ),
    ),
    "start": Workload(
        start,
        (Row("CPU of one start, all processes", "cpu", "ms", least=(Goal(5),), aim=(Goal(3),)),),
    ),
    **{
        f"starts{rate}": Workload(
            _starts(rate),
            (
                Row(f"first text p50, {label}", "p50", "ms",
                    least=(Goal(least, "follower"),), aim=(Goal(1.0, "follower"),)),
                Row("the same, p99", "p99", "ms"),
            ),
        )
        for rate, label, least in (
            (4, "one question alone", 1.2),
            (20, "20 starts a second", 1.2),
            (100, "100 starts a second", 1.5),
            (200, "200 starts a second", 1.5),
        )
    },
    **{
        f"whole{rate}": Workload(
            _whole(rate),
            (
                Row(f"CPU of an answer of 500 chunks, {rate}/s", "cpu", "ms",
                    least=(Goal(0.9, "follower"),), aim=(Goal(0.7, "follower"),)),
            ),
        )
        for rate in WHOLES
    },
    "fresh": Workload(
        fresh,
        (
            Row("highest rate, fresh streams each level", "rate", "/s",
                least=(Goal(2, "follower", more=True),), aim=(Goal(3, "follower", more=True),)),
        ),
    ),
    "mixed": Workload(
        mixed,
        (
            Row("mixed: followers' p99", "p99", "ms", least=(Goal(1.0, "follower"),)),
            Row("mixed: first text p50 of who asks", "asking", "ms",
                least=(Goal(1.5, "follower"),)),
            Row("mixed: first text p50 of who returns", "returning", "ms",
                least=(Goal(1.0, "follower"),)),
            Row("mixed: CPU per 1,000 chunks", "cpu", "ms", least=(Goal(1.0, "follower"),)),
        ),
        BOTH,
    ),
    "connected": Workload(
        connected,
        (
            Row("5,000 readers, a delta reaches all: p99", "p99", "ms", least=(Goal(1000),)),
            Row("web's CPU per 1,000 deltas to them", "cpu", "ms"),
        ),
        ONLY_US,
    ),
    "long": Workload(
        long,
        (
            Row("CPU, 1,000,000 characters / 10 × 100,000", "ratio_cpu", "×",
                least=(Goal(1.15),)),
            Row("WAL, 1,000,000 characters / 10 × 100,000", "ratio_wal", "×",
                least=(Goal(1.15),)),
            Row("WAL per character", "wal_bytes", "B", least=(Goal(5),)),
        ),
        ONLY_US,
    ),
    "stalled": Workload(
        stalled,
        (
            Row("a stalled reader: the others' p99, ×", "ratio", "×", least=(Goal(1.1),)),
            Row("a stalled reader: memory", "growth", "MiB", KIB * KIB,
                least=(Goal(1),), aim=(Goal(0),)),
        ),
        ONLY_US,
        fresh=True,
        once=True,
    ),
}  # fmt: skip
