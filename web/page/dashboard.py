"""The dashboard for operators: what runs, who reads and how far they lag, the last ten minutes.

Each web process takes a sample every few seconds, keeps its own samples in memory, and reports its
readers to the other processes through Redis. So any process can show the readers of all of them,
while the charts are those of the process that answers. Without Redis a process shows its own
readers only; without Postgres there is no sample and `state` raises StorageDown.

Everything here is a number, an id or an error code. No text of any message is read.
"""

import json
import os
import socket
import time
import uuid
from collections import Counter, deque
from contextlib import suppress
from typing import Any, Final

import gevent
import structlog

from shared.bus.livelog import LiveLog
from shared.errors import RedisDown, StorageDown
from shared.settings import Settings
from shared.store import admin_queries
from shared.store.admin_queries import Running
from shared.store.database import Database
from web import refusals
from web.following.streaming import Readers
from web.page.notices import Notices

#: Seconds between two samples, and how many are kept: ten minutes.
EVERY: Final = 5.0
SAMPLES: Final = 120
#: Seconds after which a process' report no longer counts.
STALE: Final = 3 * EVERY
#: Messages and shares whose readers one process reports, at most.
REPORTED: Final = 200
#: Codes of refused requests that one process reports, at most, and their characters.
CODES: Final = 200
CODE_CHARS: Final = 64
#: JavaScript cannot represent every integer from here on.
_MAX_NUMBER: Final = 2**53

log = structlog.get_logger("dashboard")

Json = dict[str, Any]


class Dashboard:
    """The samples of this process, and the reports that web processes exchange."""

    def __init__(
        self, settings: Settings, db: Database, livelog: LiveLog, readers: Readers, notices: Notices
    ) -> None:
        self._settings = settings
        self._db = db
        self._livelog = livelog
        self._readers = readers
        self._notices = notices
        self._samples: deque[Json] = deque(maxlen=SAMPLES)
        #: what had been refused at each of them
        self._refused: deque[Counter[str]] = deque([refusals.counts()], maxlen=SAMPLES)
        #: when the last sample was taken, and the saved characters of each message then
        self._sampled_at = time.monotonic()
        self._saved: dict[uuid.UUID, int] = {}
        self._started = False
        #: processes whose reports are stale; the next report removes theirs
        self._stale: list[str] = []

    def start(self) -> None:
        """Take samples for as long as the process lives."""
        if not self._started:
            self._started = True
            gevent.spawn(self._sample_forever)

    def _sample_forever(self) -> None:
        while True:
            try:
                self._sample()
            except StorageDown:
                pass
            except Exception:
                log.exception("dashboard.sample_failed")
            gevent.sleep(EVERY)

    def _sample(self) -> None:
        with suppress(RedisDown):
            self._livelog.store_web_stats(_process(), json.dumps(self._own_report()), self._stale)
        running = admin_queries.running(self._db)
        totals = admin_queries.totals(self._db, EVERY)
        self._samples.append(
            {
                "at": round(time.time(), 1),
                "running": totals.running,
                "waiting": totals.waiting,
                "rate": round(sum(self._rate(one) for one in running), 1),
                "readers": sum(one["streams"] for one in self._reports()),
                "errors": totals.failed,
            }
        )
        self._refused.append(refusals.counts())
        self._sampled_at = time.monotonic()
        self._saved = {one.id: one.characters for one in running}

    def _rate(self, one: Running) -> float:
        """Characters per second since the last sample, or since it began if that is later."""
        passed = min(one.age, time.monotonic() - self._sampled_at)
        return (one.characters - self._saved.get(one.id, 0)) / max(passed, 0.5)

    def _own_report(self) -> Json:
        """What this process reports of its readers."""
        lags: dict[str, list[int]] = {}
        for reader in self._readers.open_ones():
            if reader.message_id is not None:
                lags.setdefault(str(reader.message_id), []).append(reader.lag)
        readers = [(message, len(lag), max(lag)) for message, lag in lags.items()]
        return {
            "at": time.time(),
            "readers": readers[:REPORTED],
            "streams": sum(count for _, count, _ in readers),
            "notices": self._notices.count(),
            "shared": self._shared(),
            "refused": refusals.counts() - self._refused[0],
        }

    def _shared(self) -> list[tuple[str, str, int]]:
        """Who reads which conversation of another user, by how many streams."""
        found = self._readers.by_share().most_common(REPORTED)
        return [(str(user), str(conversation), count) for (user, conversation), count in found]

    def readers_of(self, conversation_id: uuid.UUID) -> Counter[uuid.UUID]:
        """By how many streams each user, and each link, reads this conversation of another user, in
        all processes; a few seconds late."""
        found: Counter[uuid.UUID] = Counter()
        for report in self._reports():
            for user, conversation, count in report["shared"]:
                if conversation == str(conversation_id):
                    found[uuid.UUID(user)] += count
        return found

    def _reports(self) -> list[Json]:
        """The current report of every process, this one included."""
        reports: dict[str, Json] = {}
        with suppress(RedisDown):
            for process, value in self._livelog.web_stats().items():
                if (report := _parsed(value)) is not None:
                    reports[process] = report
        reports[_process()] = self._own_report()
        now = time.time()
        self._stale = [name for name, one in reports.items() if abs(now - one["at"]) >= STALE]
        return [one for name, one in reports.items() if name not in self._stale]

    def state(self) -> Json:
        """All that the dashboard shows. Raises StorageDown."""
        running = admin_queries.running(self._db)
        totals = admin_queries.totals(self._db, EVERY)
        reports = self._reports()
        samples = list(self._samples)
        names = ("at", "running", "waiting", "rate", "readers", "errors")
        return {
            "now": round(time.time(), 1),
            "running": [self._row(one) for one in running],
            "waiting": totals.waiting,
            "oldest_waiting": round(totals.oldest_waiting, 1),
            "readers": _by_message(reports),
            "streams": sum(one["streams"] for one in reports),
            "notices": sum(one["notices"] for one in reports),
            "errors": [
                {
                    "id": str(one.id),
                    "conversation_id": str(one.conversation_id),
                    "user_id": str(one.user_id),
                    "code": one.code,
                    "at": one.at.isoformat(),
                }
                for one in admin_queries.failed(self._db)
            ],
            "causes": admin_queries.causes(self._db),
            "refused": dict(sum((one["refused"] for one in reports), Counter()).most_common(CODES)),
            "series": {"every": EVERY, **{name: [one[name] for one in samples] for name in names}},
            "flower": self._settings.flower_url,
        }

    def _row(self, one: Running) -> Json:
        return {
            "id": str(one.id),
            "conversation_id": str(one.conversation_id),
            "user_id": str(one.user_id),
            "status": one.status,
            "model": one.model,
            "owner": one.owner,
            "age": round(one.age, 1),
            "characters": one.characters,
            "rate": round(self._rate(one), 1),
        }


def _parsed(value: str) -> Json | None:
    """A report with the fields of `_own_report`; None if it is anything else.

    Redis may hold what another version, or another program, has written there.
    """
    try:
        report = json.loads(value)
        return {
            "at": _number(report["at"]),
            "readers": [
                (str(uuid.UUID(message)), int(_number(count)), int(_number(lag)))
                for message, count, lag in report.get("readers", [])[:REPORTED]
            ],
            "streams": int(_number(report.get("streams", 0))),
            "notices": int(_number(report.get("notices", 0))),
            "shared": [
                (str(uuid.UUID(user)), str(uuid.UUID(conversation)), int(_number(count)))
                for user, conversation, count in report.get("shared", [])[:REPORTED]
            ],
            "refused": Counter(
                {
                    str(code)[:CODE_CHARS]: int(_number(count))
                    for code, count in list(report.get("refused", {}).items())[:CODES]
                }
            ),
        }
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _number(value: Any) -> float:
    """A finite number that JSON and JavaScript can carry. Raises ValueError."""
    if type(value) not in (int, float) or not abs(value) < _MAX_NUMBER:
        raise ValueError
    return float(value)


def _by_message(reports: list[Json]) -> list[Json]:
    """The number of readers and the largest lag of each message, over all processes."""
    found: dict[str, Json] = {}
    for report in reports:
        for message, count, lag in report["readers"]:
            row = found.setdefault(message, {"message_id": message, "readers": 0, "lag": 0})
            row["readers"] += count
            row["lag"] = max(row["lag"], lag)
    return list(found.values())


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
