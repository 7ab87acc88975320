"""The ACL file: what is in it. (What it permits and refuses: end_to_end/test_deployment.py.)"""

import hashlib
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.bus.acl import ROLES, User, acl_file
from tests.deployment import ConfinedRedis


def test_the_first_line_closes_the_default_user_and_passwords_are_hashed() -> None:
    text = acl_file("shop", [User("web", "shop-web", "s3cret")])

    first, second = text.splitlines()
    assert first.startswith("user default off resetpass")
    assert second.startswith(f"user shop-web reset on #{hashlib.sha256(b's3cret').hexdigest()} ")
    assert "s3cret" not in text


@pytest.mark.parametrize("role", ROLES)
def test_no_user_has_all_keys_channels_or_a_category_of_commands(role: str) -> None:
    [_, line] = acl_file("shop", [User(role, "name", "password", 3)]).splitlines()
    rules = line.split()[5:]

    for rule in rules:
        assert rule.startswith(("~", "%R~", "&", "+", "-client|"))
        assert not rule.startswith(("+@", "~*:"))
        assert rule not in ("~*", "&*", "allkeys", "allchannels")
        assert rule.startswith(("+", "-")) or "shop" in rule
    assert {"+flushall", "+config", "+keys", "+debug", "+scan", "+eval"}.isdisjoint(rules)
    assert any(rule.startswith("&/3.shop.") for rule in rules)


def test_nobody_is_the_default_user_and_transactions_survive_a_restart(tmp_path: Path) -> None:
    server = ConfinedRedis(tmp_path / "redis")
    server.acl = acl_file("shop", [User("web", "shop-web", "s3cret")])
    with server:
        url = f"redis://shop-web:s3cret@127.0.0.1:{server.address.port}/0"
        with redis.Redis.from_url(url) as web, web.pipeline() as transaction:
            transaction.xadd("shop:log:1", {"d": "x"}).pexpire("shop:log:1", 60_000).execute()

        server.restart()

        with redis.Redis.from_url(url) as web:
            assert len(web.xrange("shop:log:1")) == 1
        nobody = redis.Redis(port=server.address.port, retry=Retry(NoBackoff(), 0))
        with nobody, pytest.raises(redis.AuthenticationError):
            nobody.ping()
        with redis.Redis.from_url(server.url) as admin:
            assert admin.acl_log() == []
