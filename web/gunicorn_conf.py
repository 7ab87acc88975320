"""gunicorn's configuration for web: gevent workers, a short drain, no user's text in any log.

A stream lives as long as its answer. `timeout` does not end it, because it watches the process'
loop and not a request. But a draining process must send its streams away itself: see `Hub`.

The master loads the app once, and each of its workers is a fork of it: so a second worker costs
next to nothing, and a worker that died is replaced at once. For that the master is patched for
gevent before it loads anything, but not where its own work is: it forks, waits for children, and
receives signals in a native queue (`GunicornWorker.patch` does the rest in a worker). So SIGHUP
does not load new code; a deploy is a new master on the same socket.
"""

from gevent import monkey

monkey.patch_all(os=False, signal=False, subprocess=False, queue=False)

import os  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from shared import gc_tuning  # noqa: E402

with gc_tuning.paused():
    from prometheus_client import multiprocess

    from shared import watchdog
    from shared.settings import Settings
    from web.gunicorn_worker import GunicornLogger, GunicornWorker
    from web.page import markdown

_settings = Settings.from_env()

# Each reader is an open file, and a shell usually allows only a thousand.
_FILES = 16_384
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if 0 <= _soft < _FILES:
    _limit = _FILES if _hard == resource.RLIM_INFINITY else min(_FILES, _hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_limit, _hard))

bind = _settings.bind
backlog = 2048
worker_class = GunicornWorker
logger_class = GunicornLogger
workers = _settings.web_concurrency
worker_connections = 10_000
keepalive = 5
timeout = 60
# Seconds. Streams are sent away at once; a connection that is left after this is cut.
graceful_timeout = 8
# All instances of a user would share the path of its socket.
control_socket_disable = True
# No header of a client says where the application is mounted, and web never uses the scheme. So no
# such header is believed, from whatever address.
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
forwarded_allow_ips = "*"
# The path without its query, which holds what a user searches for; no header and no body.
accesslog = "-"
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(B)s %(M)sms'
errorlog = "-"
loglevel = "info"


def on_starting(server: Any) -> None:
    """Do once, before there are worker processes, what takes long."""
    with gc_tuning.paused():
        markdown.prepare()
        server.app.wsgi()


def post_worker_init(worker: Any) -> None:
    """Start the app's greenlets, and report to the supervisor that this process serves."""
    gc_tuning.freeze()
    watchdog.Watchdog().start("web")
    worker.app.wsgi().extensions["outlive"].start(lambda: worker.alive)
    if _settings.ready_file:
        Path(_settings.ready_file).touch()


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """End a process that has served its last request, at once.

    Taking the interpreter apart would cost half a second of CPU, just when its successor starts.
    """
    ended = sys.exc_info()[1]
    if isinstance(ended, SystemExit) and not ended.code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    gc_tuning.unfreeze()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """Stop counting the gauges of a process that has died."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
