"""The official conformance suite of Durable Streams, on this service's storage and read face.

The service's streams are read-only, and the suite writes what it reads. So it runs against a test
profile, in which the same messages are written over HTTP (`tests/durable_writer.py`).

All of it takes a minute and a half, most of which is waiting for lifetimes to pass and thousands of
random appends. So what tests writing only runs before a release:

    CONFORMANCE=all ./outlive test tests/end_to_end/test_durable_streams_conformance.py -s
"""

import json
import os
import subprocess
from collections import Counter
from contextlib import ExitStack

from local.processes import ROOT
from local.programs import Environment, Web
from tests.foreign import need, need_node, npm_packages
from tests.rig import Rig, killing

ALL = os.environ.get("CONFORMANCE") == "all"
#: Groups that are left out: forks, which a message does not have. (Subscriptions are off by
#: default.) And what takes long and tests the profile more than the service.
LONG = ("TTL Expiration", "Property-Based", "Chunking", "Idempotent Producer")
OMITTED = ("Fork",) if ALL else ("Fork", *LONG)
#: Seconds after which a long poll has nothing to say.
LONG_POLL = 1.0


def test_the_conformance_suite_passes_but_for_its_forks(rig: Rig) -> None:
    need_node(20)
    files = ("conformance.test.mjs",)
    place = npm_packages(ROOT / "tests" / "clients" / "conformance", "conformance", *files)
    words = [*rig.procfile["web"][:-1], "tests.durable_writer:create_app()"]
    env = rig.env(
        WEB_CONCURRENCY="1", OUTLIVE_SSE_HEARTBEAT_SECONDS=str(LONG_POLL),
        OUTLIVE_PREFIX="conformance",
    )  # fmt: skip
    with ExitStack() as stack:
        web = Web.on_loopback(words, Environment(rig.home, env), stack)
        stack.enter_context(killing(web))
        web.start().wait()
        report = place / f"report-{os.getpid()}.json"
        done = subprocess.run(
            [need("node"), "node_modules/vitest/vitest.mjs", "run", "--reporter=json",
             f"--outputFile={report}", "--testNamePattern", f"^(?!{'|'.join(OMITTED)})",
             "--testTimeout=20000"],
            cwd=place, capture_output=True, text=True, check=False, timeout=500,
            env={**os.environ, "CONFORMANCE_URL": web.url, "no_proxy": "*",
                 "CONFORMANCE_LONG_POLL_MS": str(int(LONG_POLL * 1000))},
        )  # fmt: skip
    found = json.loads(report.read_text()) if report.exists() else None
    assert found is not None, done.stdout + done.stderr
    report.unlink()
    [suite] = found["testResults"]
    statuses = Counter(test["status"] for test in suite["assertionResults"])
    failed = {
        test["fullName"]: test["failureMessages"][:1]
        for test in suite["assertionResults"]
        if test["status"] == "failed"
    }
    if ALL:
        print(statuses, json.dumps(failed, indent=1))
    assert failed == {}
    assert statuses["passed"] == (250 if ALL else statuses["passed"]) >= 150
