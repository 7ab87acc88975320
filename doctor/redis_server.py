"""Redis: rights of our users, its memory policy, version, clock, and who is connected."""

import time
from collections.abc import Iterator
from typing import Any, Final

from doctor.findings import Finding, Patient, Process
from doctor.postgres import skew
from shared.bus.inspection import Inspection, versions
from shared.errors import RedisDown

#: The oldest version with all that the users need, by the server's name.
OLDEST: Final = {"Redis": (7, 0), "Valkey": (7, 2)}
#: Web processes, at least: one can be restarted while the other serves.
WEB_PROCESSES: Final = 2

_USERS: Final = "Make users by `outlive export redis-acl` (docs/deploy.md)."


def check(patient: Patient) -> Iterator[Finding]:
    """Each Redis address once; the server itself as web sees it."""
    seen = set()
    for process in patient.processes:
        url = process.settings.redis_url
        if url in seen or process.name == "release":  # which does not connect
            continue
        seen.add(url)
        inspection = Inspection(url, process.settings.prefix)
        try:
            yield from _user(process, inspection)
            if process is patient.web:
                yield from _server(inspection)
                yield from _processes(inspection)
        except RedisDown:
            yield Finding(
                "redis",
                f"Redis does not answer, or refuses the user of {process.name}.",
                "Check REDIS_URL, the ACL file, and whether Redis runs.",
            )
        finally:
            inspection.close()


def _user(process: Process, inspection: Inspection) -> Iterator[Finding]:
    if permitted := inspection.permitted():
        yield Finding(
            "redis-acl",
            f"The user of {process.name} may run {', '.join(permitted)}, which it does not need.",
            _USERS,
        )
    if not inspection.is_confined():
        yield Finding(
            "redis-acl",
            f"The user of {process.name} reaches keys or channels that do not begin with"
            f" {process.settings.prefix}.",
            _USERS,
        )


def _server(inspection: Inspection) -> Iterator[Finding]:
    if inspection.is_open():
        yield Finding(
            "redis-open",
            "Redis lets in whoever connects, without a password.",
            "Switch the default user off in the ACL file, as `outlive export redis-acl` does.",
        )
    before = time.time()
    clock = inspection.clock()
    yield from skew("Redis", clock, before, time.time())
    info = inspection.info()
    yield from _policy(info)
    name, version = versions(info)
    if tuple(version) < OLDEST[name]:
        oldest = ".".join(map(str, OLDEST[name]))
        yield Finding(
            "versions",
            f"{name} {'.'.join(map(str, version))} is too old.",
            f"Upgrade it to {oldest} or newer.",
        )


def _policy(info: dict[str, Any]) -> Iterator[Finding]:
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        yield Finding(
            "noeviction",
            f"The maxmemory-policy of Redis is {policy}: a full Redis throws questions away.",
            "Set `maxmemory-policy noeviction` in redis.conf.",
        )


def _processes(inspection: Inspection) -> Iterator[Finding]:
    if not inspection.workers():
        yield Finding("workers", "No worker is connected to Redis.", "Start a worker.")
    processes = inspection.web_processes()
    if processes < WEB_PROCESSES:
        yield Finding(
            "web",
            f"{processes} web processes run, so a restart interrupts the service.",
            f"Run {WEB_PROCESSES} or more: WEB_CONCURRENCY, or more instances.",
        )
