"""Web masters and their processes are killed, stopped and reloaded."""

import os
import signal
from contextlib import suppress

from drill.faults.kinds import (
    FaultContext,
    Injection,
    InjectionSteps,
    fault,
    frozen,
)
from local.processes import children


@fault("web")
def web_kill(context: FaultContext) -> InjectionSteps:
    """kill -9 of a master and its process."""
    web = context.web()
    if web is not None:
        context.fleet.kill(web)
        yield Injection("a master and its process")


@fault("web")
def web_process_kill(context: FaultContext) -> InjectionSteps:
    """kill -9 of the process below a master."""
    web = context.web()
    for process in children(web.pid) if web is not None else ():
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            yield Injection("a process below its master")
        return


@fault("web")
def web_reload(context: FaultContext) -> InjectionSteps:
    """SIGHUP: a new process serves, the old one drains."""
    web = context.web()
    if web is not None:
        web.signal(signal.SIGHUP)
        yield Injection("a master")


@fault("web")
def web_freeze(context: FaultContext) -> InjectionSteps:
    """SIGSTOP of a master and its process for seconds."""
    web = context.web()
    if web is not None:
        yield from frozen(context, web, context.rng.uniform(0.5, 3.0))
