"""Fixtures for stories about SQL and Redis alone: tables and keys of our own, and no processes.

The rig's workers sweep the rig's database; here nothing moves but what a story moves.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from threading import Barrier
from typing import Any, NamedTuple, TypeVar

import redis
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from local.processes import ROOT
from shared.body import Body, text_body
from shared.bus.connection import TIMEOUT
from shared.bus.livelog import LiveLog
from shared.bus.publishing import Publication, PublishConnection, PublishResult
from shared.errors import RedisDown
from shared.jobs import Queue
from shared.lifecycle import Status
from shared.store import asking, conversations, owning
from shared.store.asking import Asked, Asking
from shared.store.database import Database, run
from shared.store.ending import Ending
from shared.store.owning import Claim, Save
from shared.store.turns import Turns
from shared.sweep import Sweep
from tests.rig import Rig

#: An owner, and the boot in its name.
ME = "host:boot-of-mine"
OTHER = "host:boot-of-another"

#: Redis' databases are numbered; the rig's processes use 0.
OURS = "/9"

#: Questions go to the workers at once.
NO_LIMIT = Turns(0, 60)

Result = TypeVar("Result")


def at_once(
    count: int, action: Callable[[int], Result]
) -> tuple[list[Result], list[BaseException]]:
    """Run `action` in `count` threads that start together; what they returned and raised."""
    barrier = Barrier(count)

    def one(number: int) -> Result:
        barrier.wait()
        return action(number)

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(one, number) for number in range(count)]
    errors = [error for future in futures if (error := future.exception())]
    return [future.result() for future in futures if not future.exception()], errors


def migrate(url: str, revision: str = "head") -> None:
    """Up to `revision`, or down to it: "base"."""
    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = url
    (command.downgrade if revision == "base" else command.upgrade)(config, revision)


@contextmanager
def new_database(rig: Rig, name: str) -> Iterator[str]:
    """The URL of an empty database on the rig's Postgres."""
    admin = create_engine(rig.db.engine.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        url = rig.db.engine.url.set(database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def open_log(livelog: LiveLog, message_id: uuid.UUID, claim: uuid.UUID, attempt: int = 1) -> None:
    """Begin a claim's live log."""
    with closing(livelog.publish_connection()) as connection:
        connection.open(message_id, claim, attempt)
        publish_on(connection, [])


def publish_all(livelog: LiveLog, batch: Sequence[Publication]) -> list[PublishResult]:
    """Publish these on a connection of their own; their outcomes."""
    with closing(livelog.publish_connection()) as connection:
        return publish_on(connection, batch)


def publish_on(connection: PublishConnection, batch: Sequence[Publication]) -> list[PublishResult]:
    """Publish these; their outcomes, once every command is answered."""
    for item in batch:
        connection.publish(item)
    connection.flush()
    outcomes: list[PublishResult] = []
    while connection.outstanding:
        before = connection.outstanding
        outcomes += connection.read_results(TIMEOUT)
        if connection.outstanding == before:
            raise RedisDown
    return outcomes


class FakeQueue(Queue):
    """A queue that remembers what was handed to it, and may be away."""

    def __init__(self) -> None:
        self.ids: list[uuid.UUID] = []
        self.asked = 0
        self.away = False

    def enqueue(self, message_id: uuid.UUID) -> bool:
        self.asked += 1
        if not self.away:
            self.ids.append(message_id)
        return not self.away


class RowSnapshot(NamedTuple):
    """A message as Postgres once had it: its row and pieces as JSON, None where there was none."""

    id: uuid.UUID
    row: str | None
    pieces: str | None


#: What Redis once had: the live logs' entries by key.
RedisSnapshot = dict[str, list[tuple[str, dict[str, str]]]]


class Store:
    """The calls of the store, and short ways to make what a story begins with."""

    def __init__(self, url: str, redis_url: str) -> None:
        self.url = url
        self.redis_url = redis_url.removesuffix("/0") + OURS
        self.db = Database(url)
        self.livelog = LiveLog(self.redis_url, ttl=60)
        self.redis: Any = redis.Redis.from_url(self.redis_url, decode_responses=True)
        self.queue = FakeQueue()

    def clear(self) -> None:
        """Empty all tables."""
        with self.db.transaction() as connection:
            connection.execute(text("DELETE FROM conversations"))
            connection.execute(text("DELETE FROM users WHERE deleted_at IS NOT NULL"))
            known = (
                "INSERT INTO uptime DEFAULT VALUES ON CONFLICT (one) DO UPDATE"
                " SET jumped = NULL, looked = clock_timestamp()"
            )
            # A clock of which no jump is known. (Nothing may have checked it for a minute.)
            connection.execute(text(known))
        self.redis.flushdb()
        self.queue = FakeQueue()

    def close(self) -> None:
        self.db.dispose()
        self.redis.close()

    # --- people and their questions

    def user(self) -> uuid.UUID:
        user = uuid.uuid4()
        self.run("INSERT INTO users (id, name) VALUES (:id, 'user')", id=user)
        return user

    def conversation(self, user: uuid.UUID) -> uuid.UUID:
        return conversations.create(self.db, user, None, None).id

    def asking(self, user: uuid.UUID, **changes: Any) -> Asking:
        plain = Asking(user, "model", {"seed": 1}, None, None, max_open=0, queue_deadline=60)
        if "key" in changes:
            changes.setdefault("request_hash", "hash")
        return replace(plain, **changes)

    def ask(self, user: uuid.UUID | None = None, **changes: Any) -> Asked:
        """A question in a conversation of its own."""
        user = user or self.user()
        asked = self.asking(user, **changes)
        return asking.ask(self.db, asked, self.conversation(user), text_body("Why?"))

    def sending(self, user: uuid.UUID | None = None) -> uuid.UUID:
        """The id of an answer that no worker has claimed."""
        return self.ask(user).answer.id

    def streaming(self, user: uuid.UUID | None = None, owner: str = ME) -> Claim:
        """An answer that `owner` writes, with its live log opened."""
        return self.claim(self.sending(user), owner)

    def claim(self, message_id: uuid.UUID, owner: str = ME) -> Claim:
        claim = owning.claim(self.db, message_id, owner, 60, 900)
        assert claim is not None
        self.open(claim.id, claim.token, claim.attempt)
        return claim

    def ended(self, user: uuid.UUID | None = None, ending: Ending | None = None) -> uuid.UUID:
        """The id of an answer that ended as "Because." """
        claim = self.streaming(user)
        body = Body()
        body.write("text", "Because.")
        how = ending or Ending(Status.DONE, "stop")
        assert owning.finish(self.db, ME, save_of(claim, body), how)
        return claim.id

    def publish(self, claim: Claim, body: Body, start: int = 0, trim: int = 0) -> str:
        """Publish the text after `start`; the outcome."""
        item = Publication(claim.id, claim.token, claim.attempt, body.since(start), trim)
        return self.publish_all([item])[0]

    def open(self, message_id: uuid.UUID, claim: uuid.UUID, attempt: int = 1) -> None:
        """Begin a claim's live log."""
        open_log(self.livelog, message_id, claim, attempt)

    def publish_all(self, batch: Sequence[Publication]) -> list[PublishResult]:
        """Publish these; their outcomes."""
        return publish_all(self.livelog, batch)

    def save(self, claim: Claim, body: Body, start: int = 0, owner: str = ME) -> bool:
        """Save the text after `start`; whether that was done."""
        done = owning.save(self.db, owner, 60, [save_of(claim, body, start)])
        return claim.id in done

    def sweep(
        self,
        lease: float = 0.0,
        livelog: LiveLog | None = None,
        take: Callable[[uuid.UUID], bool] | None = None,
        observe: Callable[[str], None] | None = None,
        turns: Turns = NO_LIMIT,
        retention_days: int = 0,
    ) -> Sweep:
        """A sweep; `lease` is the time of grace after a start of Postgres."""
        log = livelog or self.livelog
        return Sweep(
            self.db,
            log,
            self.queue,
            lease=lease,
            turns=turns,
            retention_days=retention_days,
            take=take,
            observe=observe,
        )

    # --- reading and changing rows

    def run(self, sql: str, **parameters: Any) -> int:
        """A statement; the number of rows it changed."""
        with self.db.transaction() as connection:
            return connection.execute(text(sql), parameters).rowcount

    def row(self, message_id: uuid.UUID) -> Any:
        """The bare row."""
        [row] = self.db.rows("SELECT * FROM messages WHERE id = :id", id=message_id)
        return row

    def pieces(self, message_id: uuid.UUID) -> list[Any]:
        """(start, part, kind, text, meta) of what is saved and not yet compacted."""
        rows = self.db.rows(
            "SELECT start, part, kind, text, meta FROM pieces WHERE message_id = :id"
            " ORDER BY start",
            id=message_id,
        )
        return [tuple(row) for row in rows]

    def make_overdue(self, message_id: uuid.UUID, *deadlines: str) -> None:
        """These deadlines passed a second ago."""
        past = ", ".join(f"{name} = clock_timestamp() - interval '1 s'" for name in deadlines)
        assert self.run(f"UPDATE messages SET {past} WHERE id = :id", id=message_id) == 1

    # --- servers that go back

    def remember(self, *ids: uuid.UUID) -> dict[uuid.UUID, RowSnapshot]:
        """These messages as they are now."""
        rows = self.db.rows(
            "SELECT m.id, CAST(to_jsonb(m) AS text) AS row,"
            " (SELECT CAST(jsonb_agg(to_jsonb(p)) AS text) FROM pieces p"
            " WHERE p.message_id = m.id) AS pieces"
            " FROM messages m WHERE m.id = ANY(CAST(:ids AS uuid[]))",
            ids=[str(message_id) for message_id in ids],
        )
        found = {row.id: RowSnapshot(*row) for row in rows}
        return {one: found.get(one, RowSnapshot(one, None, None)) for one in ids}

    def go_back(self, memory: RowSnapshot) -> None:
        """Make a message what it was, as a standby does that lacks what came since."""
        with self.db.transaction() as connection:
            # Neither triggers nor foreign keys.
            run(connection, "SET LOCAL session_replication_role = 'replica'")
            run(connection, "DELETE FROM pieces WHERE message_id = :id", id=memory.id)
            run(connection, "DELETE FROM messages WHERE id = :id", id=memory.id)
            fill = "SELECT * FROM jsonb_populate_recordset(CAST(NULL AS {0}), CAST(:now AS jsonb))"
            rows = f"[{memory.row or ''}]"
            into = "INSERT INTO messages OVERRIDING SYSTEM VALUE "
            run(connection, into + fill.format("messages"), now=rows)
            pieces = memory.pieces or "[]"
            run(connection, "INSERT INTO pieces " + fill.format("pieces"), now=pieces)

    def remember_redis(self) -> RedisSnapshot:
        """The live logs as they are now."""
        keys = self.redis.keys("outlive:log:*")
        pipeline = self.redis.pipeline(transaction=False)
        for key in keys:
            pipeline.xrange(key)
        return dict(zip(keys, pipeline.execute(), strict=True))

    def redis_goes_back(self, memory: RedisSnapshot) -> None:
        """Make Redis what it was, as a snapshot does. What took the entries was another process."""
        self.redis.flushdb()
        for key, entries in memory.items():
            for place, fields in entries:
                taken = {name: "before" if name == "open" else it for name, it in fields.items()}
                self.redis.xadd(key, taken, id=place)
            self.redis.pexpire(key, 60_000)

    @contextmanager
    def locked(self, message_id: uuid.UUID) -> Iterator[None]:
        """Another session holds the row."""
        with self.db.transaction() as connection:
            lock = "SELECT 1 FROM messages WHERE id = :id FOR UPDATE"
            assert connection.execute(text(lock), {"id": message_id}).all()
            yield


def save_of(claim: Claim, body: Body, start: int = 0) -> Save:
    """The text after `start`, to be saved under the claim."""
    return Save(claim.id, claim.token, start, body.since(start))


def body_of(*texts: str | tuple[str, str]) -> Body:
    """A body of texts; a pair is (kind, text)."""
    body = Body()
    for one in texts:
        kind, text = ("text", one) if isinstance(one, str) else one
        body.write(kind, text, {"id": "1"} if kind == "tool_call" else None)
    return body
