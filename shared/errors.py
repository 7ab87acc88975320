"""What can go wrong, with a stable code and a sentence that a person can read.

OutliveError
├── NotFound            no such thing, or not yours
├── Invalid             the request makes no sense
├── Conflict            it makes sense, but not now
│   └── KeyReused       an Idempotency-Key came back with another body
├── TooMany             a cap is reached
├── Forbidden           the caller may not do this
├── Unavailable         a server behind us does not answer; try again
│   ├── StorageDown     Postgres
│   │   ├── Busy        has too many requests of an expensive kind
│   │   └── TooSlow     would take too long for one
│   └── RedisDown       Redis
└── GenerationFailed    an answer ended in ERROR (its code is one of MESSAGE_ERRORS)

Only `web/errors.py` turns these into HTTP.
"""


class OutliveError(Exception):
    """The service failed."""

    code = "internal"
    retryable = False

    def __init__(self, message: str | None = None, code: str | None = None) -> None:
        self.message = message or (self.__doc__ or "").strip()
        self.code = code or self.code
        super().__init__(self.code, self.message)


class NotFound(OutliveError):
    """There is no such thing here."""

    code = "not_found"


class Invalid(OutliveError):
    """The request makes no sense."""

    code = "invalid"


class Conflict(OutliveError):
    """That cannot be done now."""

    code = "conflict"


class KeyReused(Conflict):
    """This Idempotency-Key was used before with another request."""

    code = "idempotency_key_reused"


class TooMany(OutliveError):
    """Too many answers are being written for you at once."""

    code = "too_many_open"
    retryable = True


class Forbidden(OutliveError):
    """That is not allowed."""

    code = "refused"


class Unavailable(OutliveError):
    """A part of the service does not answer; try again."""

    code = "unavailable"
    retryable = True


class StorageDown(Unavailable):
    """The database does not answer; nothing was lost, try again."""

    code = "storage_unavailable"


class Busy(StorageDown):
    """Too many requests of this kind at once; try again in a moment."""

    code = "busy"


class TooSlow(StorageDown):
    """This would take the database too long; ask for less."""

    code = "too_slow"


class RedisDown(Unavailable):
    """Redis does not answer."""

    code = "redis_unavailable"


#: code of an answer that ended in ERROR -> (sentence, whether Retry may help)
MESSAGE_ERRORS: dict[str, tuple[str, bool]] = {
    "worker_lost": ("The worker writing this answer died; what had been written is kept.", True),
    "worker_shutdown": ("This answer was interrupted by a deploy; what was written is kept.", True),
    "queue_timeout": ("No worker took this question in time.", True),
    "deadline": ("This answer took longer than is allowed; what was written is kept.", True),
    "storage": ("The answer could not be saved to the end.", True),
    "provider_rejected": ("The model's provider refused the request.", False),
    "provider_unavailable": ("The model's provider cannot be reached or is overloaded.", True),
    "provider_error": ("The model's provider reported an error while answering.", True),
    "provider_empty": ("The model gave no answer.", True),
    "provider_cut": ("The connection to the model's provider broke before the end.", True),
    "provider_stalled": ("The model's provider stopped sending.", True),
    "provider_malformed": ("The model's provider sent data that cannot be understood.", True),
}


class GenerationFailed(OutliveError):
    """The answer ended in ERROR."""

    def __init__(self, code: str, message: str | None = None) -> None:
        sentence, retryable = MESSAGE_ERRORS[code]
        super().__init__(message or sentence, code)
        self.retryable = retryable
