"""The worker as the Procfile starts it: `python -m worker [--concurrency N] [--hostname NODE]`.

It starts Celery's worker as `celery --app worker.app worker --pool gevent --loglevel info
--without-gossip --without-mingle` does, which works too. But the `celery` command first loads every
command that a package adds to it (all of Flower) and a shell with completion.
"""

import sys

from gevent import monkey

monkey.patch_all()  # before anything keeps what it replaces

from argparse import ArgumentParser  # noqa: E402

from celery.utils.nodenames import default_nodename, host_format  # noqa: E402

from shared import gc_tuning  # noqa: E402

with gc_tuning.paused():
    from worker.app import app


def main() -> int:
    """Run the worker until it is stopped; its exit status."""
    parser = ArgumentParser(prog="worker", description="Writes answers.")
    parser.add_argument("--concurrency", type=int, help="tasks at a time")
    parser.add_argument("--hostname", help="its name in Celery; %%h: this machine's")
    options = parser.parse_args()
    worker = app.Worker(
        pool_cls="gevent",
        loglevel="INFO",
        without_gossip=True,
        without_mingle=True,
        concurrency=options.concurrency,
        hostname=host_format(default_nodename(options.hostname)),
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
