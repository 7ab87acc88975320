"""Two deployments on one Redis database never meet: each has its prefix."""

import re
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import httpx2
import pytest
import redis

from scripted import done, finish, hold, say, script
from shared.body import Delta
from shared.bus.keys import message_channel
from shared.bus.livelog import LiveLog
from shared.bus.publishing import Publication
from shared.jobs import make_app
from shared.settings import Settings
from tests.client import Client, new_id
from tests.rig import Rig, eventually, killing
from tests.store_fixtures import migrate, new_database, open_log, publish_all
from tests.stories import start_worker

SECOND = "second"
#: That of test_contract.py, which may have used this Redis before.
THIRD = "contract"


@pytest.fixture(scope="module")
def database(rig: Rig) -> Iterator[str]:
    """That of the second deployment."""
    with new_database(rig, SECOND) as url:
        migrate(url)
        yield url


def test_each_worker_takes_its_own_questions_and_each_flower_sees_its_own_worker(
    rig: Rig, database: str, client: Client, no_workers: None
) -> None:
    env = {"DATABASE_URL": database, "OUTLIVE_PREFIX": SECOND}
    web, theirs = rig.web(**env), start_worker(rig, **env).wait()
    flower = rig.flower(OUTLIVE_PREFIX=SECOND)
    with killing(web), killing(theirs, flower), Client(web.url) as other:
        # given: a question of each, and a worker of the second one only
        name = f"held {new_id()}"
        mine = client.ask(script(say("mine"), finish(), done()))
        answer = other.ask(script(say("so far"), hold(name), say(" and on"), finish(), done()))
        other.shown(answer, 6)
        with redis.Redis.from_url(rig.redis.url, decode_responses=True) as server:
            # once, or again by a sweep if all this took 5 s
            assert server.llen("outlive") >= 1
            assert server.llen(SECOND) == 0
            assert server.keys(f"outlive:log:{answer}*") == []
            assert len(server.keys(f"{SECOND}:log:{answer}*")) == 1

        # when: the first one gets its worker, too
        ours = start_worker(rig).wait()
        with killing(ours):
            assert client.ended(mine)["text"] == "mine"
            with httpx2.Client(base_url=flower.url, timeout=10) as window:
                eventually(lambda: window.get("/api/workers", params={"refresh": 1}).json())
                workers = list(window.get("/api/workers").json())

            # and: a message among the processes of one is none for those of the other
            apps = [make_app(Settings.model_validate(one)) for one in _settings(rig)]
            answers = [app.control.inspect(timeout=2).ping() or {} for app in apps]
            with redis.Redis.from_url(rig.redis.url, decode_responses=True) as server:
                keys = server.keys()

        # then
        rig.scripted.release(name)
        assert other.ended(answer)["text"] == "so far and on"
        assert [worker.partition("@")[0] for worker in workers] == [f"outlive-{theirs.boot[:8]}"]
        for found, worker in zip(answers, (ours, theirs), strict=True):
            assert [name.partition("@")[0] for name in found] == [f"outlive-{worker.boot[:8]}"]
        owned = re.compile(
            rf"(outlive|{SECOND}|{THIRD})([:.].*)?|[^:]+\.reply\.(outlive|{SECOND})\.pidbox"
        )
        assert [key for key in keys if not owned.fullmatch(key)] == []


def _settings(rig: Rig) -> list[dict[str, str]]:
    return [{"REDIS_URL": rig.redis.url, "prefix": name} for name in ("outlive", SECOND)]


def test_live_logs_and_channels_of_two_prefixes_are_separate(rig: Rig) -> None:
    message_id, claim, user = uuid4(), uuid4(), uuid4()
    first, second = LiveLog(rig.redis.url, 60), LiveLog(rig.redis.url, 60, "third")
    with closing(first.subscription()) as mine, closing(second.subscription()) as other:
        for subscription in (mine, other):
            subscription.subscribe(message_channel(message_id))
            assert subscription.listen(5) == ("subscribe", message_channel(message_id), "1")
        open_log(second, message_id, claim)
        text = Delta(0, 0, "text", "theirs", None)

        publish_all(second, [Publication(message_id, claim, 1, [text], 0)])

        received = other.listen(5)
        assert received is not None
        assert (received.kind, received.channel) == ("message", message_channel(message_id))
        assert mine.listen(0.0) is None
        assert second.read({message_id: claim})[message_id] == [text]
        assert first.read({message_id: claim})[message_id] == []
        second.notify_stop(message_id)
        second.notify_ended(message_id, claim)
        second.notify_user(user)
        second.store_web_stats("web", "1")
        assert "web" not in first.web_stats()
        assert second.web_stats() == {"web": "1"}
        assert mine.listen(0.0) is None
