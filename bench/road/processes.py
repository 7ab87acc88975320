"""What processes cost: seconds of the processor, bytes of memory."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench.sampling import family, memory_of

TICK: Final = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Seconds of the processor that a process and its descendants have used, ended ones too."""
    ticks = 0
    for one in family(pid):
        with suppress(OSError):  # it ended meanwhile; its parent counts it
            # After the name, which may hold anything: fields 3 and up (proc_pid_stat(5)).
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # utime, stime, and those of reaped children
    return ticks / TICK


def memory(pid: int) -> int:
    """Bytes of a process and its descendants, shared pages in proportion (PSS)."""
    total = 0
    for one in family(pid):
        with suppress(OSError):
            total += memory_of(one)["Pss"]
    return total
