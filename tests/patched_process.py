"""A process of the service with a patch: `python -m tests.patched_process PROGRAM WORDS`.

    PATCHED_CLOCK        seconds by which its clock is wrong
    PATCHED_CONSTANTS    constants to change: `worker.writer.STORAGE_PATIENCE=4 ...`

`Rig` and `stories.start_worker` use it where the environment of a program has one of these.
"""

import datetime as dt
import importlib
import os
import runpy
import sys
import time
from typing import Any


def main() -> None:
    """Apply the patches, then run the program."""
    del sys.argv[0]
    _wrong_clock(float(os.environ.get("PATCHED_CLOCK", "0")))
    program = sys.argv[0]
    if program == "gunicorn":
        importlib.import_module("gunicorn.app.wsgiapp").run()
    assert sys.argv[1] == "-m"  # python -m MODULE
    importlib.import_module("gevent.monkey").patch_all()  # before anything of ours
    for constant in os.environ.get("PATCHED_CONSTANTS", "").split():
        place, _, value = constant.partition("=")
        module, _, name = place.rpartition(".")
        found = importlib.import_module(module)
        setattr(found, name, type(getattr(found, name))(value))
    sys.argv[:3] = [sys.argv[2]]
    runpy.run_module(sys.argv[0], run_name="__main__")


def _wrong_clock(seconds: float) -> None:
    """Make every clock of this process that tells the time of day wrong by some seconds."""
    if not seconds:
        return
    right, right_ns, right_date = time.time, time.time_ns, dt.datetime.now
    wrong_by = dt.timedelta(seconds=seconds)

    class Both(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, Wrong.__base__ or Wrong)

    class Wrong(dt.datetime, metaclass=Both):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return right_date(tz) + wrong_by

        @classmethod
        def utcnow(cls) -> Any:
            return right_date(dt.UTC).replace(tzinfo=None) + wrong_by

    everywhere: list[tuple[Any, str, Any]] = [
        (time, "time", lambda: right() + seconds),
        (time, "time_ns", lambda: right_ns() + int(seconds * 1e9)),
        (dt, "datetime", Wrong),
    ]
    for module, name, wrong in everywhere:
        setattr(module, name, wrong)


if __name__ == "__main__":
    main()
