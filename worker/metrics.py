"""The worker's metrics for Prometheus. Names and meanings: docs/metrics.md."""

from prometheus_client import Counter, Histogram

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

GENERATIONS = Counter("outlive_generations", "Generations that ended here, by status", ["status"])
ERRORS = Counter("outlive_generation_errors", "Generations that ended in ERROR, by code", ["code"])
CHARACTERS = Counter("outlive_characters", "Code points written by providers")
FIRST_TEXT = Histogram("outlive_first_text_seconds", "Claim to first character", buckets=_SECONDS)
TOTAL = Histogram("outlive_generation_seconds", "Claim to end", buckets=_SECONDS)
PUBLISHES = Counter("outlive_publishes", "Deltas published to Redis")
PUBLISH_ROUNDS = Counter("outlive_publish_rounds", "Rounds in which deltas were published")
PUBLISH_LAG = Histogram(
    "outlive_publish_lag_seconds",
    "Longest time that text waited to be published, measured every 0.2 s",
    buckets=_QUICK,
)
QUEUE_WAIT = Histogram("outlive_queue_wait_seconds", "Question to claim", buckets=_SECONDS)
RETRIES = Counter(
    "outlive_provider_retries",
    "Requests sent again after a temporary refusal, by status",
    ["status"],
)
LEFT_OUT = Counter(
    "outlive_provider_left_out", "Images and other media that were left out of answers"
)
SAVES = Counter("outlive_saves", "Rows saved or renewed in Postgres")
SAVED_CHARACTERS = Counter("outlive_saved_characters", "Code points saved before the end")
SAVE_SECONDS = Histogram("outlive_save_seconds", "One saving round", buckets=_QUICK)
PUSHES = Counter("outlive_pushes", "Notifications of browsers, by what became of them", ["result"])
SWEEPS = Counter("outlive_sweep_actions", "Actions of the sweep, by kind", ["action"])


def generation(
    status: str, code: str | None, characters: int, first: float | None, total: float
) -> None:
    """Count a generation that ended in this process. Times in seconds."""
    GENERATIONS.labels(status).inc()
    CHARACTERS.inc(characters)
    TOTAL.observe(total)
    if code:
        ERRORS.labels(code).inc()
    if first is not None:
        FIRST_TEXT.observe(first)


def published(number: int, rounds: int, lag: float) -> None:
    """Count what the publisher did since the last call. `lag` in seconds."""
    PUBLISHES.inc(number)
    PUBLISH_ROUNDS.inc(rounds)
    PUBLISH_LAG.observe(lag)


def saved(number: int, characters: int, seconds: float) -> None:
    """Count a round of the saver."""
    SAVES.inc(number)
    SAVED_CHARACTERS.inc(characters)
    SAVE_SECONDS.observe(seconds)


def swept(action: str) -> None:
    """Count an action of the sweep."""
    SWEEPS.labels(action).inc()
