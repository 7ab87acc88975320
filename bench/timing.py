"""Measure several ways in turn, so that changes of the machine's load affect all of them."""

import statistics
import time
from collections.abc import Callable

ROUNDS = 5


def side_by_side(ways: dict[str, Callable[[], int]], unit: str) -> None:
    """Each way returns how many units it did; print CPU microseconds a unit and the ratio.

    CPU time of this process, not the wall's: others use the machine too.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begun = time.process_time()
            done = way()
            found[name].append((time.process_time() - begun) / done * 1e6)
    table({name: statistics.median(values) for name, values in found.items()}, f"us CPU/{unit}")


def table(values: dict[str, float], unit: str) -> None:
    """Print values, and each as a multiple of the smallest."""
    least = min(values.values())
    for name, value in values.items():
        print(f"  {name:<44} {value:>12,.1f} {unit:<14} x {value / least:,.1f}", flush=True)
