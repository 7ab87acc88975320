"""The whole service on a Postgres that is reached through PgBouncer in transaction mode."""

import pytest
from click.testing import CliRunner

from cli.__main__ import outlive
from scripted import done, finish, hold, long, say, script, usage
from shared.settings import with_driver
from shared.store import accounts, sessions
from shared.store.database import Database
from tests.client import Client
from tests.pgbouncer import pgbouncer
from tests.rig import Rig, eventually, killing
from tests.store_fixtures import migrate, new_database
from tests.stories import NEVER, following, start_worker, verified_end

QUICK = {
    "OUTLIVE_LEASE_SECONDS": "2",
    "OUTLIVE_HEARTBEAT_SECONDS": "0.5",
    "OUTLIVE_SWEEP_SECONDS": "0.5",
}
ANSWERS = 12


@pytest.mark.failure(47)
def test_everything_works_through_a_pooler(rig: Rig, no_workers: None) -> None:
    with new_database(rig, "pooled_service") as url, pgbouncer(url) as pooler:
        migrate(pooler.url)  # migrations too
        env = {"DATABASE_URL": pooler.url, "REDIS_URL": rig.redis.url.replace("/0", "/5")}
        web = rig.web(**env, **QUICK)
        first, second = start_worker(rig, **env, **QUICK), start_worker(rig, **env, **QUICK)
        with killing(web, first, second), Client(web.url) as client:
            first.wait()
            second.wait()

            # given: answers that are written to their end
            questions = [
                script(long(3000, rate=3000, seed=n), finish(), usage(), done(), tag=f"pooled {n}")
                for n in range(ANSWERS)
            ]
            readings = [client.read(client.ask(question)) for question in questions]
            with following(*readings):
                pass
            for reading in readings:
                assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)

            # and: one that is stopped, and some whose worker dies
            stopped = client.ask(script(say("Stop me"), hold(NEVER), tag="pooled stop"))
            client.shown(stopped, 7)
            client.stop(stopped)
            assert client.ended(stopped)["status"] == "CANCELLED"
            lost = [
                client.ask(script(say("Lost"), hold(NEVER), tag=f"pooled lost {n}"))
                for n in range(4)
            ]
            for answer in lost:
                client.shown(answer, 4)
            first.kill()
            second.kill()
            third = start_worker(rig, **env, **QUICK)
            with killing(third):
                third.wait()
                for answer in lost:
                    ended = client.ended(answer)
                    assert (ended["error"]["code"], ended["text"]) == ("worker_lost", "Lost")

            _sign_in_and_out(pooler.url)

            # then: nothing was refused on the way, and the pooler shared its few connections
            eventually(lambda: "unsupported startup parameter" in pooler.log.read_text())
            assert (
                rig.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = 'pooled_service'")[
                    0
                ][0]
                <= 4
            )


def _sign_in_and_out(url: str) -> None:
    """Accounts, keys and sessions, as the commands and web use them."""
    env = {"DATABASE_URL": url}
    for words in (["user", "add", "ann"], ["key", "add", "night", "--scope", "ask"]):
        made = CliRunner().invoke(outlive, words, input="a long password\n", env=env)
        assert made.exit_code == 0, made.output
    db = Database(with_driver(url))
    try:
        account = accounts.find(db, "ann")
        assert account is not None
        day = 86_400.0
        begun = sessions.begin(
            db, account.id, token_hash="x", lifetime=sessions.Lifetime(day, day), credential="test"
        )
        assert begun is not None
        found = sessions.valid(db, "x")
        assert found is not None
        sessions.end_all(db, account.id, begun.id, None)
        assert sessions.valid(db, "x") is None
    finally:
        db.dispose()
