"""What operators see: what runs, who reads and how far behind, the last minutes in numbers.

Each web process looks every few seconds, keeps what it saw for some minutes, and tells the others
about its readers through Redis. Nothing here holds a word of anybody's text.
"""

import json
import os
import socket
import time
import uuid
from collections import deque
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
from web.following.streaming import Readers
from web.page.notices import Notices

#: Seconds between looks, and samples that are kept: ten minutes.
EVERY: Final = 5.0
SAMPLES: Final = 120
#: Seconds after which what a process said about itself is too old.
STALE: Final = 3 * EVERY
#: Messages whose readers a process tells about.
TOLD: Final = 200
#: The first number that JavaScript cannot count to.
_COUNTABLE: Final = 2**53

log = structlog.get_logger("live")

Json = dict[str, Any]


class Dashboard:
    """The samples of this process, and what it tells the others."""

    def __init__(
        self, settings: Settings, db: Database, livelog: LiveLog, readers: Readers, notices: Notices
    ) -> None:
        self._settings = settings
        self._db = db
        self._livelog = livelog
        self._readers = readers
        self._notices = notices
        self._samples: deque[Json] = deque(maxlen=SAMPLES)
        #: when it was looked last, and how much of each message was saved then
        self._looked = time.monotonic()
        self._saved: dict[uuid.UUID, int] = {}
        self._started = False
        #: processes that have said nothing for long
        self._ended: list[str] = []

    def start(self) -> None:
        """Look every few seconds, for as long as the process lives."""
        if not self._started:
            self._started = True
            gevent.spawn(self._look_for_ever)

    def _look_for_ever(self) -> None:
        while True:
            try:
                self._look()
            except StorageDown:
                pass
            except Exception:
                log.exception("live.look")
            gevent.sleep(EVERY)

    def _look(self) -> None:
        with suppress(RedisDown):
            self._livelog.tell_operators(_process(), json.dumps(self._own()), self._ended)
        found = admin_queries.running(self._db)
        totals = admin_queries.totals(self._db, EVERY)
        streams = sum(one["streams"] for one in self._told())
        self._samples.append(
            {
                "at": round(time.time(), 1),
                "running": totals.running,
                "waiting": totals.waiting,
                "rate": round(sum(self._rate(one) for one in found), 1),
                "readers": streams,
                "errors": totals.failed,
            }
        )
        self._looked = time.monotonic()
        self._saved = {one.id: one.characters for one in found}

    def _rate(self, one: Running) -> float:
        """Characters a second since the last look; of a new one since it began."""
        passed = min(one.age, time.monotonic() - self._looked)
        return (one.characters - self._saved.get(one.id, 0)) / max(passed, 0.5)

    def _own(self) -> Json:
        """What this process says about its readers."""
        lags: dict[str, list[int]] = {}
        for reader in self._readers.open_ones():
            if reader.message_id is not None:
                lags.setdefault(str(reader.message_id), []).append(reader.lag)
        readers = [(message, len(lag), max(lag)) for message, lag in lags.items()]
        notices = self._notices.count()
        streams = sum(number for _, number, _ in readers)
        return {
            "at": time.time(),
            "readers": readers[:TOLD],
            "streams": streams,
            "notices": notices,
        }

    def _told(self) -> list[Json]:
        """What every process says, this one of itself."""
        told: dict[str, Json] = {}
        with suppress(RedisDown):
            for process, words in self._livelog.told_operators().items():
                if (found := _understood(words)) is not None:
                    told[process] = found
        told[_process()] = self._own()
        now = time.time()
        self._ended = [name for name, one in told.items() if abs(now - one["at"]) >= STALE]
        return [one for name, one in told.items() if name not in self._ended]

    def show(self) -> Json:
        """All of it, now. Raises StorageDown."""
        found = admin_queries.running(self._db)
        totals = admin_queries.totals(self._db, EVERY)
        told = self._told()
        samples = list(self._samples)
        names = ("at", "running", "waiting", "rate", "readers", "errors")
        return {
            "now": round(time.time(), 1),
            "running": [self._running(one) for one in found],
            "waiting": totals.waiting,
            "oldest_waiting": round(totals.oldest_waiting, 1),
            "readers": _merged(told),
            "streams": sum(one["streams"] for one in told),
            "notices": sum(one["notices"] for one in told),
            "errors": [
                {"id": str(one.id), "code": one.code, "at": one.at.isoformat()}
                for one in admin_queries.failed(self._db)
            ],
            "series": {"every": EVERY, **{name: [one[name] for one in samples] for name in names}},
            "flower": self._settings.flower_url,
        }

    def _running(self, one: Running) -> Json:
        return {
            "id": str(one.id),
            "user_id": str(one.user_id),
            "status": one.status,
            "model": one.model,
            "owner": one.owner,
            "age": round(one.age, 1),
            "characters": one.characters,
            "rate": round(self._rate(one), 1),
        }


def _understood(words: str) -> Json | None:
    """What a process says about itself, with the fields of `_own`; None for anything else that
    somebody has put there."""
    try:
        told = json.loads(words)
        return {
            "at": _number(told["at"]),
            "readers": [
                (str(uuid.UUID(message)), int(_number(number)), int(_number(lag)))
                for message, number, lag in told.get("readers", [])[:TOLD]
            ],
            "streams": int(_number(told.get("streams", 0))),
            "notices": int(_number(told.get("notices", 0))),
        }
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _number(value: Any) -> float:
    """A number that JSON can carry on. Raises ValueError."""
    if type(value) not in (int, float) or not abs(value) < _COUNTABLE:
        raise ValueError
    return float(value)


def _merged(told: list[Json]) -> list[Json]:
    """Readers by message, over all processes."""
    found: dict[str, Json] = {}
    for one in told:
        for message, number, lag in one["readers"]:
            known = found.setdefault(message, {"message_id": message, "readers": 0, "lag": 0})
            known["readers"] += number
            known["lag"] = max(known["lag"], lag)
    return list(found.values())


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
