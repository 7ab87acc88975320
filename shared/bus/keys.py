"""Every key and every channel in Redis: who writes it, who reads it, when it expires.

Keys:

    outlive:log:<message>:<claim>   stream, the live log of a claim
        written by   the claim's worker; a sweep, to fence it
        read by      web, for readers; a sweep, to save what the worker could not
        expires      60 s after the end of the message, else after its TTL; saved text is trimmed

    outlive:web                     hash, figures of each web process
        written by   each web process, every 5 s
        read by      the dashboards of all web processes
        expires      60 s after the last write

    outlive:count:<whose>:<time>    string, requests that a rate limit has counted in a minute ...
        written by   web, every 0.1 s while there are requests
        read by      web
        expires      a minute, hour or day after the last of them

    outlive:devices:<user>          hash, where each of a user's devices is reading
        written by   web, for a page that is visible, every few seconds
        read by      web, for the user's other devices
        expires      60 s after the last write

    outlive:probe:<token>           string, permits one stream to `outlive doctor`
        written by   the doctor
        read by      web, which deletes it
        expires      after 60 s

    outlive                         list, Celery's queue
        written by   web, sweeps, workers (titles; answers that they give back)
        read by      workers
        expires      entries never do; a worker takes them

    outlive.*                       sets and lists, Celery's own: bindings, replies to Flower
        written by   workers, Flower
        read by      workers, Flower
        expires      a reply's after seconds; the others never do, and are few

    *.outlive.pidbox                lists, replies of workers to one process that asks them

Channels, which keep nothing:

    outlive:live:<message>          deltas, and wake-ups that mean "read the row"
        published by the message's worker; web, on Stop; a sweep, at the end
        read by      web processes with readers of the message

    outlive:user:<user>             wake-ups: something in this user's conversations has changed
        published by web, workers
        read by      web processes that show the user's list

    outlive:stop                    ids of messages that are to be stopped
        published by web
        read by      every worker

    outlive:rights                  users, keys and sessions that are not good any more
        published by web, the operator's commands
        read by      every web process, where sign-in is required

    outlive.pidbox, outlive.events  Celery's own, among its processes and to Flower

A live log's entries have the ids `<attempt>-<end offset>` and one field: "d" (deltas, see
`coding`), "open" or "fence" (see `livelog`). A message's channel is not its live log, although it
has "live" in its name: processes of other versions use that name, so it stays.

All names here begin with the default prefix. A deployment with another `OUTLIVE_PREFIX` has that
instead of "outlive": it is put on where commands leave this room, and taken off where names of
channels come in. The queue is named after the prefix itself (see `jobs`).
"""

import uuid
from typing import Final

#: The prefix with which names are written in this service.
PREFIX: Final = "outlive"

STOP_CHANNEL: Final = "outlive:stop"
RIGHTS_CHANNEL: Final = "outlive:rights"
WEB_STATS: Final = "outlive:web"
_MESSAGE: Final = "outlive:live:"
_USER: Final = "outlive:user:"


def log_key(message_id: uuid.UUID, claim: uuid.UUID | None) -> str:
    """The key of a claim's live log. (Workers of before claims had tokens wrote without one.)"""
    key = f"outlive:log:{message_id}"
    return key if claim is None else f"{key}:{claim}"


def count_key(name: str) -> str:
    """The key of a count."""
    return f"outlive:count:{name}"


def message_channel(message_id: uuid.UUID) -> str:
    """The channel of a message, for all of its claims."""
    return f"{_MESSAGE}{message_id}"


def user_channel(user_id: uuid.UUID) -> str:
    """The channel that carries a wake-up when something in a user's conversations has changed."""
    return f"{_USER}{user_id}"


def devices_key(user_id: uuid.UUID) -> str:
    """The key of where a user's devices are reading."""
    return f"outlive:devices:{user_id}"


def probe_key(token: str) -> str:
    """The key that permits one stream to the doctor who wrote it."""
    return f"outlive:probe:{token}"


def user_of(channel: str) -> uuid.UUID:
    """The user of a user's channel."""
    return uuid.UUID(channel.removeprefix(_USER))


def with_prefix(name: str, prefix: str) -> str:
    """The name in a Redis that is used with this prefix."""
    return name if prefix == PREFIX else prefix + name[len(PREFIX) :]


def without_prefix(name: str, prefix: str) -> str:
    """The reverse; a name that does not begin with the prefix stays as it is."""
    if prefix == PREFIX or not name.startswith(prefix):
        return name
    return PREFIX + name[len(prefix) :]
