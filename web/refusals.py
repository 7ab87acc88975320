"""How many requests this process has refused, by code: for Prometheus and the dashboard."""

import collections

import prometheus_client

_REFUSED = prometheus_client.Counter(
    "outlive_refused_requests", "Requests that were answered with an error, by code", ["code"]
)
#: The same for this process alone. As many entries as there are codes.
_counts: collections.Counter[str] = collections.Counter()


def count(code: str) -> None:
    """Note a request that was answered with this code."""
    _REFUSED.labels(code).inc()
    _counts[code] += 1


def counts() -> collections.Counter[str]:
    """How many there were with each code since the process began."""
    return _counts.copy()
