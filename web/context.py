"""What all requests of an app share: made once by `create_app`, found through Flask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import gevent
from flask import current_app

from shared.bus.livelog import LiveLog
from shared.jobs import Queue
from shared.line import Lines
from shared.settings import Settings
from shared.store.database import Database
from web.asking import Asker
from web.auth import Revocations, SessionCookies
from web.auth.sign_ins import SignIns
from web.following.hub import Hub
from web.following.message_keeper import MessageKeeper
from web.following.streaming import Readers
from web.page.dashboard import Dashboard
from web.page.model_list import ModelList
from web.page.notices import Notices
from web.page.render_cache import RenderCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The clients of Postgres, Redis and the queue, and what this process keeps in memory."""

    settings: Settings
    db: Database
    livelog: LiveLog
    queue: Queue
    asker: Asker
    lines: Lines
    hub: Hub
    messages: MessageKeeper
    readers: Readers
    notices: Notices
    render_cache: RenderCache
    models: ModelList
    dashboard: Dashboard
    revocations: Revocations
    #: how browsers sign in; None where nobody has to
    sign_ins: SignIns | None
    session_cookies: SessionCookies
    #: the public key with which browsers subscribe to notifications; None: they cannot
    push_key: str | None

    def start(self, serving: Callable[[], bool]) -> None:
        """Start the background greenlets of a process that takes requests from now on.

        `serving` becomes false when the process has to stop.
        """
        self.hub.serving_while(serving)
        self.dashboard.start()
        for client in (self.db, self.queue):
            gevent.spawn(client.warm)


def context() -> Context:
    """The context of the app that serves this request."""
    return cast("Context", current_app.extensions["outlive"])
