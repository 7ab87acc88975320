"""Web's entry point: `create_app` makes every part and connects them, from top to bottom."""

import posixpath

from flask import Flask, Response
from rjsmin import jsmin
from werkzeug.exceptions import NotFound

from shared import logs
from shared.bus.livelog import LiveLog
from shared.jobs import ENQUEUE_SECONDS, Queue, make_app
from shared.line import Lines
from shared.settings import Settings
from shared.store.database import Database, cooperate
from shared.store.turns import Turns
from shared.sweep import Sweep
from shared.vapid import Vapid
from web import (
    auth,
    compression,
    cors,
    dress,
    errors,
    middleware,
    operations,
    proxies,
    reference,
    requests,
    routes,
    streams,
)
from web.asking import Asker
from web.auth.kinds import cookies_for, credential_kinds
from web.auth.sign_ins import SignIns
from web.context import Context
from web.contract import document
from web.following.hub import Hub
from web.following.message_keeper import MessageKeeper
from web.following.rights import Rights
from web.following.streaming import Readers
from web.page.dashboard import Dashboard
from web.page.model_list import ModelList
from web.page.notices import Notices
from web.page.render_cache import RenderCache
from web.rate_limits import RateLimits

#: Bytes that a request's body may have.
MAX_BODY = 4 << 20


class App(Flask):
    """Flask, which serves each static file whole and at one address."""

    def send_static_file(self, filename: str) -> Response:
        """A file in one piece, so that it can be compressed; 404 for a path like `x/../app.js`.

        Scripts are sent without comments and space, which are a third of what is compressed: to
        leave them out takes 0.3 ms for the longest.
        """
        if posixpath.normpath(filename) != filename or "\\" in filename:
            raise NotFound
        response = super().send_static_file(filename)
        if response.status_code == 200:
            response.direct_passthrough = False
            response.make_sequence()
            if filename.endswith(".js"):
                response.set_data(jsmin(response.get_data()))
        return response


def create_app(settings: Settings | None = None) -> Flask:
    """The app over the servers that the settings name. Nothing connects before a request."""
    settings = settings or Settings.from_env()
    logs.configure()
    cooperate()  # a greenlet that waits for Postgres must not block the others
    db = Database(settings.database_url)
    livelog = LiveLog(settings.redis_url, settings.hard_deadline_seconds + 60, settings.prefix)
    queue = Queue(make_app(settings, ENQUEUE_SECONDS))
    lease = settings.lease_seconds
    turns = Turns(settings.running, settings.queue_deadline_seconds)
    hub = Hub(livelog.subscription)
    sweep = Sweep(db, livelog, queue, lease=lease, turns=turns)
    messages = MessageKeeper(hub, db, livelog, sweep)
    sidebar = Notices(hub, db)
    revocations = auth.Revocations()
    readers = Readers(
        hub.draining,
        heartbeat=settings.sse_heartbeat_seconds,
        max_seconds=settings.stream_max_seconds,
        max_streams=settings.streams,
        max_address_streams=settings.max_address_streams,
        revocations=revocations,
    )
    if settings.auth != "local":
        Rights(hub, db, readers, revocations)
    app = App(__name__, template_folder="page/templates", static_folder="page/static")
    # werkzeug cuts a chunked body here without an error: `json_body` refuses what has this length.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY + 1
    app.config["OUTLIVE"] = settings
    models = ModelList(settings)
    dashboard = Dashboard(settings, db, livelog, readers, sidebar)
    app.extensions["outlive"] = Context(
        settings=settings,
        db=db,
        livelog=livelog,
        queue=queue,
        asker=Asker(settings, db, messages, queue, livelog),
        lines=Lines(settings, db, livelog, queue),
        hub=hub,
        messages=messages,
        readers=readers,
        notices=sidebar,
        render_cache=RenderCache(),
        models=models,
        dashboard=dashboard,
        revocations=revocations,
        sign_ins=SignIns(settings, db) if settings.auth == "required" else None,
        session_cookies=cookies_for(settings),
        push_key=Vapid(settings.push_key, "").public_key if settings.push_key else None,
    )
    dress.register(app, settings)
    errors.register(app, routes.ERRORS)
    streams.register(app, routes.STREAMS)
    limits = RateLimits(app, settings, routes.ASKING, routes.UNCOUNTED, routes.PUBLIC)
    auth.register(app, routes.RIGHTS, credential_kinds(settings, db, revocations))
    limits.count_users()
    requests.register(app, operations.OPERATIONS)
    compression.register(app)
    for blueprint in routes.BLUEPRINTS:
        app.register_blueprint(blueprint)
    reference.register(app, document.build(app, routes.RIGHTS, operations.OPERATIONS))
    wrapped = middleware.with_timed_bodies(app.wsgi_app)
    if settings.listed_origins:
        wrapped = cors.with_cors(wrapped, settings.listed_origins)
    wrapped = middleware.with_headers(wrapped)
    if settings.proxies:
        wrapped = proxies.with_proxies(wrapped, settings.proxies)
    app.wsgi_app = wrapped  # type: ignore[method-assign, assignment]
    return app
