"""What every request of an app shares: made once by `create_app`, found through Flask."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import gevent
from flask import current_app

from shared.bus.livelog import LiveLog
from shared.errors import RedisDown
from shared.jobs import Queue
from shared.settings import Settings
from shared.store.database import Database
from web.following.hub import Hub
from web.following.streaming import Readers
from web.page.dashboard import Dashboard
from web.page.model_list import ModelList
from web.page.notices import Notices
from web.page.render_cache import RenderCache


@dataclass(frozen=True, slots=True)
class Context:
    """The doors to the servers, and what this process follows."""

    settings: Settings
    db: Database
    livelog: LiveLog
    queue: Queue
    hub: Hub
    readers: Readers
    notices: Notices
    render_cache: RenderCache
    models: ModelList
    dashboard: Dashboard

    def serving_while(self, serving: Callable[[], bool]) -> None:
        """The process serves; how to learn that it is told to stop."""
        self.hub.serving_while(serving)
        self.dashboard.start()
        for door in (self.db, self.queue):
            gevent.spawn(door.warm)

    def nudge(self, message_id: uuid.UUID) -> None:
        """Something was changed in the row: worker and readers may look at once."""
        with suppress(RedisDown):  # they look by themselves, a little later
            self.livelog.notify_stop(message_id)

    def notice(self, user_id: uuid.UUID) -> None:
        """Something in this user's conversations was changed: who shows them may look at once.

        Whoever changed it need not wait for that.
        """
        gevent.spawn(self._notice, user_id)

    def _notice(self, user_id: uuid.UUID) -> None:
        with suppress(RedisDown):  # they look by themselves, a little later
            self.livelog.notify_user(user_id)


def context() -> Context:
    """That of the app that serves this request."""
    return cast("Context", current_app.extensions["outlive"])
