"""Web's metrics for Prometheus; docs/metrics.md explains each."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Gauge,
    generate_latest,
    multiprocess,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shared.errors import StorageDown
from shared.store import admin_queries
from shared.store.database import Database

READERS = Gauge("outlive_readers", "Open streams", multiprocess_mode="livesum")
BODIES = Gauge("outlive_hub_bodies", "Bodies in the hubs' memory", multiprocess_mode="livesum")


class _OpenMessages(Collector):
    """Open messages by status and the oldest one's age, read from Postgres at each scrape.

    Without Postgres they are missing, so that a scrape still gives the other metrics.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("outlive_open_messages", "Open messages", labels=["status"])
        try:
            for status, count in admin_queries.count_open(self._db).items():
                family.add_metric([status], count)
        except StorageDown:
            return
        yield family
        oldest = GaugeMetricFamily("outlive_oldest_waiting_seconds", "Age of the oldest SENDING")
        oldest.add_metric([], admin_queries.oldest_waiting(self._db))
        yield oldest


def exposition(db: Database) -> tuple[bytes, str]:
    """All metrics, and their content type.

    With PROMETHEUS_MULTIPROC_DIR these are the metrics of every process that shares the directory.
    """
    registry: CollectorRegistry = REGISTRY
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is not None:
        _drop_dead_processes(Path(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    text = generate_latest(registry) + generate_latest(_registry_of(_OpenMessages(db)))
    return text, CONTENT_TYPE_LATEST


def _drop_dead_processes(folder: Path) -> None:
    """Stop counting processes that were killed together with the gunicorn master that does this."""
    for file in folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:  # it lives, and belongs to another user
            continue


def _registry_of(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry
