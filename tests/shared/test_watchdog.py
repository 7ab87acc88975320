"""The watchdog, in processes of its own: its thread lives as long as they do."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.monkey import get_original

from local.processes import ROOT
from shared import logs
from shared.watchdog import LAG, Watchdog

#: What is computed with must not be in a log.
SECRET = "a canary"


def catastrophe(text: str) -> None:
    """Holds the loop in one call into C."""
    re.match(r"(a+)+$", "a" * 23 + text)


def asleep(_: str) -> None:
    """Holds the loop without computing anything."""
    get_original("time", "sleep")(1.0)


def stopped(_: str) -> None:
    """The whole process stands still, as in a VM that pauses."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _watched(name: str) -> None:
    """Run one of these under a watchdog; print the buckets of its metric."""
    logs.configure()
    Watchdog().start("test")
    gevent.sleep(0.2)
    gevent.spawn(globals()[name], SECRET).join()
    seen = _buckets()["+Inf"]
    while _buckets()["+Inf"] < seen + 2:  # an observation is made each second
        gevent.sleep(0.05)
    print(json.dumps(_buckets()))


def _buckets() -> dict[str, float]:
    [metric] = LAG.collect()
    return {one.labels["le"]: one.value for one in metric.samples if "le" in one.labels}


def watched(work: Callable[[str], None]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The metric's buckets and the lines of the log."""
    words = [sys.executable, "-c", f"from {__name__} import _watched; _watched({work.__name__!r})"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        if work is stopped:
            os.waitpid(process.pid, os.WUNTRACED)
            time.sleep(1.5)  # for which it was stopped: what is tested
            process.send_signal(signal.SIGCONT)
        said, logged = process.communicate(timeout=60)
    assert process.returncode in (0, None) or work is stopped, logged
    return json.loads(said), [json.loads(line) for line in logged.splitlines() if line[:1] == "{"]


def test_a_long_computation_is_in_the_metric_and_its_stack_in_the_log() -> None:
    buckets, lines = watched(catastrophe)

    assert buckets["0.1"] < buckets["+Inf"]
    [line] = [line for line in lines if line["event"] == "loop.held"]
    assert any(place.endswith(" catastrophe") for place in line["stack"])
    assert SECRET not in str(lines)


def test_a_wait_that_blocks_the_loop_is_noticed() -> None:
    buckets, lines = watched(asleep)

    assert buckets["0.25"] < buckets["+Inf"]
    assert lines[0]["stack"][0].endswith(" asleep")


def test_a_process_that_stood_still_did_not_hold_its_loop() -> None:
    buckets, lines = watched(stopped)

    assert buckets["0.25"] == buckets["+Inf"] >= 1
    assert lines == []
