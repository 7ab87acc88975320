"""What can go wrong, as exceptions.

OutliveError
├── Unreachable      nothing answered, or not Outlive, or it is not ready; `temporary`: try later
├── ApiError         the service refused the request
│   ├── Unauthorized     401: who are you?
│   ├── Forbidden        403
│   ├── NotFound         404: there is no such thing, or it is not yours
│   ├── Conflict         409: not now
│   ├── Invalid          400, 413, 415, 422: this request is never right
│   └── TooMany          429: a limit is reached; `retry_after` says when to try again
└── ProofMismatch    what was read is not the answer that is stored
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outlive_client._models import Message


class OutliveError(Exception):
    """Base of all exceptions of this package. Its text is for a person.

    `code`: the service's stable name for it, if it gave one; `status`: the HTTP status, if there
    was a response; `retry_after`: seconds after which the same may succeed, if the service said so.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Unreachable(OutliveError):
    """Nothing answers, or something that is not Outlive, or the service is not ready.

    `temporary`: whether trying again makes sense. It was tried for as long as `patience` says.
    """

    def __init__(self, message: str, *, temporary: bool, **more: Any) -> None:
        super().__init__(message, **more)
        self.temporary = temporary


class ApiError(OutliveError):
    """The service refused. `detail` is its sentence, `document` the whole problem document."""

    status: int

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after: float | None = None,
        document: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code})", status=status, code=code, retry_after=retry_after)
        self.detail = detail
        self.document = document or {}


class Unauthorized(ApiError):
    """There is no credential, or it is not valid (any more)."""


class Forbidden(ApiError):
    """The caller may not do this."""


class NotFound(ApiError):
    """There is no such thing, or it is not yours."""


class Conflict(ApiError):
    """The request makes sense, but not now: an answer is still being written, say."""


class Invalid(ApiError):
    """The request makes no sense, whenever it is sent."""


class TooMany(ApiError):
    """A limit is reached."""


#: By HTTP status; all others are an ApiError.
BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooMany,
}


class ProofMismatch(OutliveError):
    """What was read does not have the length and sha256 of the answer: do not use it.

    `message` is the answer as it is stored, None if it is not there any more. It happens when a
    service was restored from a backup while an answer was being read.
    """

    def __init__(self, message: Message | None) -> None:
        super().__init__("What was read does not match the answer's length and sha256.")
        self.message = message
