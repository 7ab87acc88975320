"""Saving a growing answer: append-only pieces, as the worker does, against one growing column."""

import random
import string
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config

from bench.timing import table
from local import data_dirs
from local.postgres import Postgres
from shared.body import Delta, text_body
from shared.lifecycle import Status
from shared.settings import with_driver
from shared.store import asking, conversations, owning
from shared.store.database import Database, run
from shared.store.ending import Ending
from shared.store.tables import LOCAL_USER

SAVES = 500
CHARACTERS = 200
OWNER = "bench:1"


def main() -> None:
    """500 saves of 200 characters each way on a real Postgres: wall time and WAL."""
    with data_dirs.temporary() as home, Postgres(home / "postgres") as server:
        url = with_driver(server.url)
        config = Config()
        config.set_main_option(
            "script_location", str(Path(conversations.__file__).parent / "migrations")
        )
        config.attributes["url"] = url
        command.upgrade(config, "head")
        db = Database(url)
        _measure(db, {"pieces (owning.save)": _pieces, "text = text || piece": _growing})
        db.dispose()


Way = Callable[[Database], None]


def _measure(db: Database, ways: dict[str, Way]) -> None:
    seconds, wal = {}, {}
    for name, way in ways.items():
        before, begun = _wal(db), time.perf_counter()
        way(db)
        seconds[name] = (time.perf_counter() - begun) / SAVES * 1e6
        wal[name] = (_wal(db) - before) / SAVES
    table(seconds, "us wall/save")
    table(wal, "WAL bytes/save")


def _wal(db: Database) -> int:
    found = db.rows("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS position")
    return int(found[0].position)


def _claimed(db: Database) -> tuple[uuid.UUID, uuid.UUID]:
    wanted = asking.Asking(LOCAL_USER, "bench", {}, None, None, 0, 3600.0)
    place = conversations.create(db, LOCAL_USER, None, None).id
    answer = asking.ask(db, wanted, place, text_body("bench")).answer.id
    claim = owning.claim(db, answer, OWNER, 3600.0, 3600.0)
    assert claim is not None
    return answer, claim.token


def _pieces(db: Database) -> None:
    answer, claim = _claimed(db)
    for number in range(SAVES):
        start = number * CHARACTERS
        save = owning.Save(answer, claim, start, (Delta(start, 0, "text", _text(number)),))
        assert owning.save(db, OWNER, 3600.0, [save])
    done = owning.Save(answer, claim, SAVES * CHARACTERS)
    assert owning.finish(db, OWNER, done, Ending(Status.DONE, "stop"))


def _growing(db: Database) -> None:
    with db.transaction() as connection:
        run(connection, "CREATE TABLE growing (id uuid, text text)")
    key = uuid.uuid4()
    db.rows("INSERT INTO growing VALUES (:id, '') RETURNING id", id=key)
    grow = "UPDATE growing SET text = text || :piece WHERE id = :id RETURNING id"
    for number in range(SAVES):
        db.rows(grow, piece=_text(number), id=key)


def _text(number: int) -> str:
    """Different each time, or Postgres would compress a growing column away."""
    return "".join(random.Random(number).choices(string.ascii_letters + " ", k=CHARACTERS))
