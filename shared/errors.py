"""What can go wrong: every error's code, its HTTP status and a sentence that a person can read.

Codes are part of the contract: clients rely on them, so one that was given out never changes. Two
registries hold all of them. `REQUEST_ERRORS` are why a request was refused, `MESSAGE_ERRORS` why an
answer ended in ERROR. The exceptions below carry a code of one of them; any other code is a bug and
raises KeyError. `web/errors.py`, docs/errors.md and the tests read the same registries.

OutliveError
├── NotFound            no such thing, or not yours
├── Invalid             the request makes no sense
├── Conflict            it makes sense, but not now
│   └── KeyReused       an Idempotency-Key came back with another body
├── TooMany             a cap is reached
│   ├── BudgetExhausted  the tokens of a day or a month are used up
│   └── RateLimited      too many requests in a short time
├── Forbidden           the caller may not do this
├── Unavailable         a server that we need does not answer; try again
│   ├── StorageDown     Postgres
│   │   ├── Busy        has too many requests of an expensive kind
│   │   └── TooSlow     would take too long for one
│   └── RedisDown       Redis
└── GenerationFailed    an answer ended in ERROR (its code is one of MESSAGE_ERRORS)
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class RequestError(NamedTuple):
    """A refusal's HTTP status, and its sentence where the code that raises it has no better one."""

    status: int
    sentence: str


REQUEST_ERRORS: Final[dict[str, RequestError]] = {
    "malformed_json": RequestError(400, "The body of the request is not valid JSON."),
    "malformed_request": RequestError(400, "This is not a valid HTTP request."),
    "invalid_offset": RequestError(
        400, "offset must be -1, now, or an offset that this stream gave out."
    ),
    "unauthenticated": RequestError(
        401, "Sign in first, or send a credential: Authorization: Bearer and a token or a key."
    ),
    "token_expired": RequestError(401, "This token has expired. Get a new one and try again."),
    "token_invalid": RequestError(
        401, "This token cannot be accepted. Get a new one from the service that you use."
    ),
    "session_ended": RequestError(401, "This session has ended. Sign in again."),
    "sign_in_failed": RequestError(401, "That is not a login and its password. Try again."),
    "key_invalid": RequestError(
        401, "This service key cannot be accepted: it is unknown, revoked or expired."
    ),
    "user_disabled": RequestError(401, "This user may not use the service any more."),
    "not_local": RequestError(
        403, "Without sign-in this service answers only on the machine that it runs on."
    ),
    "forwarded": RequestError(403, "Without sign-in no request may come through a proxy."),
    "not_operator": RequestError(403, "Only operators may see what runs here."),
    "insufficient_scope": RequestError(403, "This credential does not allow this request."),
    "wrong_password": RequestError(403, "That is not your current password. Nothing was changed."),
    "cross_site": RequestError(403, "Other sites may not use this service."),
    "csrf_failed": RequestError(
        403, "The header Outlive-CSRF is missing or not that of this session. Load the page again."
    ),
    "not_found": RequestError(404, "There is no such thing here."),
    "method_not_allowed": RequestError(
        405,
        "This address does not support this method. The Allow header lists those that it supports.",
    ),
    "request_timeout": RequestError(408, "The body of the request came too slowly. Send it again."),
    "answer_open": RequestError(409, "That answer is still being written; stop it or wait."),
    "push_off": RequestError(
        409, "This service notifies no browsers: it has no key for that (OUTLIVE_PUSH_KEY)."
    ),
    "needs_sign_in": RequestError(
        409,
        "Without sign-in there is one user, who has nobody to share with and cannot be deleted."
        " OUTLIVE_AUTH=required turns sign-in on.",
    ),
    "complete": RequestError(409, "This answer is complete; there is nothing to continue."),
    "gone": RequestError(410, "This was deleted."),
    "too_large": RequestError(413, "The request is too large. Send less at once."),
    "unsupported_media_type": RequestError(
        415, "The body must be JSON, sent with Content-Type: application/json."
    ),
    "invalid": RequestError(422, "The request makes no sense."),
    "invalid_action": RequestError(422, "action must be one of those that are noted."),
    "invalid_before": RequestError(422, "before must be the id of a message."),
    "invalid_content": RequestError(422, "The content of the question cannot be taken as it is."),
    "invalid_cursor": RequestError(422, "cursor must be the `next` of an earlier page."),
    "invalid_idempotency_key": RequestError(
        422, "Idempotency-Key must be some printable characters."
    ),
    "invalid_endpoint": RequestError(
        422, "endpoint must be an https address of a push service that this service knows."
    ),
    "invalid_push_keys": RequestError(422, "The keys are not those of a browser's subscription."),
    "invalid_format": RequestError(422, "format must be one of those that this call has."),
    "invalid_leaf": RequestError(422, "leaf must be the id of a message."),
    "invalid_limit": RequestError(422, "limit must be a whole number."),
    "invalid_parent": RequestError(422, "parent_id must name an answer of this conversation."),
    "invalid_position": RequestError(422, "after must be a position."),
    "invalid_tool_results": RequestError(
        422,
        "tool_results must be one result for each tool call of the answer above, which must be"
        " DONE.",
    ),
    "unknown_parameter": RequestError(422, "This call has no such parameter."),
    "idempotency_key_reused": RequestError(
        422, "This Idempotency-Key was used before with another request."
    ),
    "invalid_user_id": RequestError(422, "user_id must be the id of a user."),
    "invalid_user": RequestError(
        422, "Outlive-User must be the id of a user: 1 to 255 printable characters."
    ),
    "invalid_password": RequestError(422, "This cannot be a password."),
    "no_password": RequestError(422, "You have no password here: you sign in elsewhere."),
    "no_session": RequestError(
        422, "This can be done in a session only, and this request came with another credential."
    ),
    "no_such_user": RequestError(
        422, "No other user has this name. It is a login, or the host product's id of a user."
    ),
    "not_an_answer": RequestError(422, "Only an answer can be retried or continued."),
    "budget_exhausted": RequestError(
        429, "The tokens of this day or month are used up. Ask again when the budget renews."
    ),
    "rate_limited": RequestError(429, "Too many requests. Wait, as Retry-After says."),
    "question_too_long": RequestError(422, "The question is too long. Ask a shorter one."),
    "max_tokens_too_large": RequestError(
        422, "max_tokens is larger than this service allows. Ask for fewer tokens."
    ),
    "line_full": RequestError(
        429, "As many questions wait here as may. Wait until one is sent, or remove one."
    ),
    "too_many_open": RequestError(429, "Too many answers are being written for you at once."),
    "too_many_exports": RequestError(429, "Your export is being read already. Wait for its end."),
    "too_many_shares": RequestError(
        429, "This conversation has as many shares as it may have. Revoke one first."
    ),
    "too_many_streams": RequestError(429, "You have too many streams open at once."),
    "headers_too_large": RequestError(
        431, "The headers of the request are too large. Send fewer or shorter ones."
    ),
    "internal": RequestError(
        500,
        "This is a bug in the service; its log says where. Try again, and report it if it stays.",
    ),
    "busy": RequestError(503, "Too many requests of this kind at once; try again in a moment."),
    "keys_unavailable": RequestError(
        503, "The keys that tokens are checked with cannot be fetched; try again in a moment."
    ),
    "not_migrated": RequestError(
        503, "The database is not that of this version yet; `outlive migrate` makes it so."
    ),
    "storage_unavailable": RequestError(
        503, "The database does not answer; nothing was lost, try again."
    ),
    "too_slow": RequestError(503, "This would take the database too long; ask for less."),
}

#: Handled before they reach a client: no request is refused with these.
INTERNAL_ERRORS: Final[dict[str, RequestError]] = {
    "redis_unavailable": RequestError(503, "Redis does not answer."),
}

#: Code of an answer that ended in ERROR -> (sentence, whether Retry may help).
MESSAGE_ERRORS: Final[dict[str, tuple[str, bool]]] = {
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


def _registered(code: str) -> RequestError:
    if code in MESSAGE_ERRORS:  # it ends an answer, not a request: in a request it is a bug
        return RequestError(500, MESSAGE_ERRORS[code][0])
    return REQUEST_ERRORS.get(code) or INTERNAL_ERRORS[code]


class OutliveError(Exception):
    """Base of all errors that we raise on purpose.

    `code` has to be registered. The message is the registry's sentence unless another is
    given.
    """

    code = "internal"

    def __init__(
        self,
        message: str | None = None,
        code: str | None = None,
        *,
        retry_after: float | None = None,
        **fields: object,
    ) -> None:
        """`retry_after`: seconds after which another try may succeed. `fields`: what else the
        problem document says, such as the limit."""
        self.retry_after = retry_after
        self.fields = fields
        self.code = code or self.code
        self.status, sentence = _registered(self.code)
        self.message = message or sentence
        super().__init__(self.code, self.message)


class NotFound(OutliveError):
    """No such thing, or not one that this user may see."""

    code = "not_found"


class Invalid(OutliveError):
    """The request makes no sense, whenever it is sent."""

    code = "invalid"


class Conflict(OutliveError):
    """The request makes sense, but not now. It is raised with a code that says why."""

    code = ""  # each raise gives one


class KeyReused(Conflict):
    """The Idempotency-Key was used before with another request."""

    code = "idempotency_key_reused"


class TooMany(OutliveError):
    """A cap of this user is reached."""

    code = "too_many_open"


class BudgetExhausted(TooMany):
    """The tokens of a day or a month are used up."""

    code = "budget_exhausted"


class RateLimited(TooMany):
    """Too many requests in a short time."""

    code = "rate_limited"


class Forbidden(OutliveError):
    """The caller may not do this. It is raised with a code that says why."""

    code = ""  # each raise gives one


class Unavailable(OutliveError):
    """A server that we need does not answer; a later try may succeed. Only its kinds are raised."""

    code = ""  # its kinds have one


class StorageDown(Unavailable):
    """Postgres does not answer, or refuses to write."""

    code = "storage_unavailable"


class Busy(StorageDown):
    """Postgres is asked too much of an expensive kind at once."""

    code = "busy"


class TooSlow(StorageDown):
    """Postgres would take too long for this one request."""

    code = "too_slow"


class RedisDown(Unavailable):
    """Redis does not answer."""

    code = "redis_unavailable"


class GenerationFailed(OutliveError):
    """The answer ended in ERROR, with a code of MESSAGE_ERRORS.

    `upstream`: `status` and `code`, as far as a provider that refused named them.
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        upstream: Mapping[str, Any] | None = None,
    ) -> None:
        if code not in MESSAGE_ERRORS:
            raise KeyError(code)
        super().__init__(message, code)
        self.upstream = upstream
