"""How gunicorn serves web: gevent workers, short goodbyes, no text in any log.

A stream lives as long as its answer, so `timeout` (which watches the loop, not the request) may
stay, while a stopping process must tell its streams to go: see Hub.leave.
"""

import os
import resource
from pathlib import Path
from typing import Any

from prometheus_client import multiprocess

from shared import gc_tuning, watchdog
from shared.settings import Settings
from web import front
from web.page import markdown

_settings = Settings.from_env()

# A reader is a file, and a shell's usual limit is a thousand of them.
_FILES = 16_384
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if 0 <= _soft < _FILES:
    _most = _FILES if _hard == resource.RLIM_INFINITY else min(_FILES, _hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _hard))

bind = _settings.bind
backlog = 2048
worker_class = front.Worker
logger_class = front.Logger
workers = _settings.web_concurrency
worker_connections = 10_000
keepalive = 5
timeout = 60
# Streams are told to go at once; what is left after this is cut.
graceful_timeout = 8
# Its socket's path is shared by all instances of a user.
control_socket_disable = True
# Where an application is mounted is for its configuration to say, not for a client's headers, and
# web never uses the scheme. So no such header is believed, and no client's address is looked up.
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
forwarded_allow_ips = "*"
# Idempotency keys, event ids and questions travel in headers and bodies, never in the line.
accesslog = "-"
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(B)s %(M)sms'
errorlog = "-"
loglevel = "info"


def on_starting(server: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """What takes long to make is made once, before there are worker processes."""
    markdown.prepare()


def post_worker_init(worker: Any) -> None:
    """The app's hub learns when its process is told to stop; who waits learns that it serves."""
    gc_tuning.freeze()
    watchdog.Watchdog().start("web")
    worker.app.wsgi().extensions["outlive"].start(lambda: worker.alive)
    if _settings.ready_file:
        Path(_settings.ready_file).touch()


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """A process has served its last request."""
    gc_tuning.unfreeze()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """A dead process' gauges do not count any more."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
