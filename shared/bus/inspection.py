"""What `outlive doctor` asks Redis: what our user may do there, its settings, who is connected.

No command that could harm is run. Whether one is permitted is asked within a transaction that is
then discarded: Redis checks the right when it queues the command. (A refusal is an entry in Redis'
ACL LOG, of the context "multi".)
"""

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import redis

from shared.bus.connection import TIMEOUT, pooled, redis_errors
from shared.bus.keys import PREFIX, STOP_CHANNEL, WEB_STATS, probe_key, with_prefix

#: Commands that no process of ours needs.
DANGEROUS: Final = {
    "FLUSHALL": ("FLUSHALL",),
    "CONFIG": ("CONFIG", "GET", "maxmemory"),
    "DEBUG": ("DEBUG", "HELP"),
    "KEYS": ("KEYS", "outlive-doctor"),
    "ACL": ("ACL", "LIST"),
}
#: Seconds for which a token of a probe can be used.
_PROBE_SECONDS: Final = 60
#: Seconds after which the figures of a web process no longer count: it writes every five.
_FRESH_SECONDS: Final = 15.0


class Inspection:
    """Questions to one Redis, as the user of one address."""

    def __init__(self, url: str, prefix: str = PREFIX) -> None:
        self._redis = pooled(url, TIMEOUT)
        self._url = url
        self._prefix = prefix

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def info(self) -> dict[str, Any]:
        """Redis' own description of itself. Raises RedisDown."""
        with redis_errors():
            found: Any = self._redis.info()
            return dict(found)

    def clock(self) -> float:
        """Its time, in seconds since the epoch."""
        with redis_errors():
            seconds, microseconds = self._redis.time()
            return float(seconds) + float(microseconds) / 1_000_000

    def permitted(self) -> list[str]:
        """Which of the DANGEROUS commands our user may run."""
        return [name for name, words in DANGEROUS.items() if self._is_permitted(*words)]

    def is_confined(self) -> bool:
        """Whether keys and channels of other names are closed to our user."""
        other = f"other-than-{self._prefix}"
        return not (self._is_permitted("EXISTS", other) or self._is_permitted("PUBLISH", other, ""))

    def _is_permitted(self, *words: str) -> bool:
        one: Any = self._redis.client  # a single connection
        with redis_errors(), one() as client:
            client.execute_command("MULTI")
            try:
                client.execute_command(*words)
            except redis.ResponseError:  # not permitted, or not known
                return False
            finally:
                client.execute_command("DISCARD")
        return True

    def is_open(self) -> bool:
        """Whether Redis takes commands from clients without a password."""
        scheme, netloc, path, query, _ = urlsplit(self._url)
        nobody = urlunsplit((scheme, netloc.rpartition("@")[2], path, query, ""))
        client = pooled(nobody, TIMEOUT)
        try:
            client.ping()
        except redis.AuthenticationError:
            return False
        except redis.RedisError as error:
            return not str(error).startswith(("NOAUTH", "WRONGPASS", "NOPERM"))
        finally:
            client.close()
        return True

    def workers(self) -> int:
        """How many workers listen for Stop: each does, as long as it runs."""
        with redis_errors():
            channel = with_prefix(STOP_CHANNEL, self._prefix)
            [(_, count)] = self._redis.pubsub_numsub(channel)
            return int(count)

    def web_processes(self) -> int:
        """How many web processes have reported their figures lately."""
        with redis_errors():
            found: Any = self._redis.hgetall(with_prefix(WEB_STATS, self._prefix))
        return len([one for one in found.values() if time.time() - _reported(one) < _FRESH_SECONDS])

    def new_probe(self) -> str:
        """A token for one stream that web sends to this doctor."""
        token = secrets.token_hex(32)
        with redis_errors():
            self._redis.set(with_prefix(probe_key(token), self._prefix), "1", ex=_PROBE_SECONDS)
        return token


def _reported(figures: str) -> float:
    """When figures of a web process were written; 0 if they are none."""
    try:
        return float(json.loads(figures)["at"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def versions(info: dict[str, Any]) -> tuple[str, Sequence[int]]:
    """Name and version of the server. (Valkey calls itself Redis 7.2.4, too.)"""
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    text = str(info.get("valkey_version" if name == "Valkey" else "redis_version", "0"))
    return name, tuple(int(part) for part in text.split(".") if part.isdecimal())
