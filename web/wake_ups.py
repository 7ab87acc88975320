"""Wake through Redis whatever shows a change that was just committed to Postgres.

A wake-up saves its receivers a wait and carries nothing: they read Postgres. One that is lost costs
a few seconds, because workers and hubs poll what has been silent. So Redis being away is no error
here.
"""

import uuid
from contextlib import suppress

import gevent

from shared.bus.livelog import LiveLog
from shared.errors import RedisDown


def wake_message(livelog: LiveLog, message_id: uuid.UUID) -> None:
    """A message's row changed (Stop, deletion): wake its worker and its readers."""
    with suppress(RedisDown):
        livelog.notify_stop(message_id)


def wake_sidebars(livelog: LiveLog, user_id: uuid.UUID) -> None:
    """A user's list of conversations changed: wake every page that shows it.

    Returns at once; the request that made the change does not wait for Redis.
    """
    gevent.spawn(_wake_sidebars, livelog, user_id)


def end_streams(livelog: LiveLog, kind: str, revoked: uuid.UUID) -> None:
    """What was revoked: end what is open by it in all web processes.

    Returns at once. Without Redis they end within a minute.
    """
    gevent.spawn(_end_streams, livelog, kind, revoked)


def _end_streams(livelog: LiveLog, kind: str, revoked: uuid.UUID) -> None:
    with suppress(RedisDown):
        livelog.notify_revoked(kind, revoked)


def _wake_sidebars(livelog: LiveLog, user_id: uuid.UUID) -> None:
    with suppress(RedisDown):
        livelog.notify_user(user_id)
