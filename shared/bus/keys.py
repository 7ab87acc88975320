"""Every key and every channel in Redis, with who writes it, who reads it and when it goes.

Keys:

| key                        | type   | written by            | read by        | goes             |
| -------------------------- | ------ | --------------------- | -------------- | ---------------- |
| `outlive:log:<id>:<claim>` | stream | the claim's worker;   | web, sweep     | 60 s after the   |
| (a claim's live log)       |        | a sweep (the fence)   |                | end, or its TTL  |
| `outlive:web`              | hash   | each web process      | the dashboard  | 60 s after the   |
| (figures of the processes) |        |                       |                | last write       |
| `outlive` (the queue)      | list   | web, sweep            | workers        | as it is read    |
| `outlive.unacked*`, ...    | any    | Celery, if at all     | Celery         | see `jobs`       |

Channels, which keep nothing:

| channel                    | published by          | subscribed to by                            |
| -------------------------- | --------------------- | ------------------------------------------- |
| `outlive:live:<id>`        | the message's worker, | web processes with readers of that message  |
| (a message's channel)      | web, sweep            |                                             |
| `outlive:user:<id>`        | web, workers          | web processes that show that user's list    |
| (a user's channel)         |                       |                                             |
| `outlive:stop`             | web                   | every worker                                |

A live log's entries have the ids `<attempt>-<end offset>` and one field: "d" (deltas, see
`coding`), "open" or "fence" (see `livelog`). A message's channel carries the same deltas, or a
wake-up. A user's channel carries wake-ups only, the stop channel ids of messages. ("live" in the
name of a message's channel is older than the live log; the names are shared with processes of
other versions, so it stays.)

All names here begin with the default prefix. A deployment with another `OUTLIVE_PREFIX` has that
instead of "outlive": it is put on where commands leave this room, and taken off where names of
channels come in. The queue's name is the prefix itself (see `jobs`).
"""

import uuid
from typing import Final

#: The prefix with which names are written in this service.
PREFIX: Final = "outlive"

STOP_CHANNEL: Final = "outlive:stop"
WEB_STATS: Final = "outlive:web"
_MESSAGE: Final = "outlive:live:"
_USER: Final = "outlive:user:"


def log_key(message_id: uuid.UUID, claim: uuid.UUID | None) -> str:
    """The key of a claim's live log. (Workers of before claims had tokens wrote without one.)"""
    key = f"outlive:log:{message_id}"
    return key if claim is None else f"{key}:{claim}"


def message_channel(message_id: uuid.UUID) -> str:
    """The channel of a message, for all of its claims."""
    return f"{_MESSAGE}{message_id}"


def user_channel(user_id: uuid.UUID) -> str:
    """The channel that carries a wake-up when something in a user's conversations has changed."""
    return f"{_USER}{user_id}"


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
