"""What web tells Prometheus. Names and meanings: docs/metrics.md."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Gauge,
    multiprocess,
)
from prometheus_client import generate_latest as exposed
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shared.errors import StorageDown
from shared.store import messages
from shared.store.database import Database

READERS = Gauge("outlive_readers", "Open streams", multiprocess_mode="livesum")
BODIES = Gauge("outlive_hub_bodies", "Bodies in the hubs' memory", multiprocess_mode="livesum")


class _OpenMessages(Collector):
    """Open messages by status, counted when somebody asks."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("outlive_open_messages", "Open messages", labels=["status"])
        try:
            for status, count in messages.count_open(self._db).items():
                family.add_metric([status], count)
        except StorageDown:
            return
        yield family
        oldest = GaugeMetricFamily("outlive_oldest_waiting_seconds", "Age of the oldest SENDING")
        oldest.add_metric([], messages.oldest_waiting(self._db))
        yield oldest


def exposition(db: Database) -> tuple[bytes, str]:
    """All metrics and their content type.

    With PROMETHEUS_MULTIPROC_DIR, those of every process of this machine that shares it.
    """
    registry: CollectorRegistry = REGISTRY
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is not None:
        _forget_the_dead(Path(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    text = exposed(registry) + exposed(_of(_OpenMessages(db)))
    return text, CONTENT_TYPE_LATEST


def _forget_the_dead(folder: Path) -> None:
    """Gauges of processes that were killed together with who would have buried them."""
    for file in folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:  # it lives, and is somebody else's
            continue


def _of(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry
