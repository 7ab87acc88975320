"""Percentiles, as the drill and the benchmarks print them."""

from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which so large a share of sorted values lies; 0 of none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def percentiles(values: Sequence[float] | None = None) -> str:
    """Count, median, 95th and 99th percentile, maximum, in columns; their heads without values."""
    if values is None:
        return f"{'count':>6} {'p50':>6} {'p95':>6} {'p99':>6} {'max':>6}"
    found = sorted(values)
    ranks = [percentile(found, share) for share in (0.5, 0.95, 0.99)]
    return f"{len(found):>6,} " + " ".join(f"{value:6.2f}" for value in (*ranks, found[-1]))
