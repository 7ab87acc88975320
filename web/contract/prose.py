"""The document's prose: the introduction, the tags, the ways to sign in. Markdown."""

from typing import Any, Final

#: That of the project: a test compares them.
VERSION: Final = "0.1.0"

INTRODUCTION: Final = """\
Ask a question; the answer is written whether or not anybody reads it; read it from any position,
as often as you like.

**Requests.** A body is one JSON object, sent with `Content-Type: application/json`. A field or a
query parameter that a call does not have is refused, and the answer names it (422 `invalid` or
`unknown_parameter`). Nothing is guessed or converted: neither `"1"` nor
`1.0` is the integer `1`. `GET` can be `HEAD`, too.

**Responses.** Later versions may add fields, kinds of events, kinds of parts and codes: ignore
what you do not know. Lists are `{"items": [...], "next": cursor or null}`.

**Errors.** Every refusal is a problem document (RFC 9457) with a stable `code`; each operation
lists those that it may answer with. An address that does not exist is a 404 `not_found`, a method
that an address does not have a 405 `method_not_allowed` with `Allow`. 429 and 503 say in
`Retry-After` when to try again.

**Limits.** A refusal of 429 names the limit, and `Retry-After` says when to try again. Where
requests are counted, each response, also a refusal, says where they stand: `RateLimit-Limit`,
`RateLimit-Remaining` and `RateLimit-Reset` (seconds). In a 429 they are those of the limit that
refused.

**Credentials.** A call that needs one answers 401 without, and names in `WWW-Authenticate` what it
expects. A credential that is good, but not for this call, is a 403: each call says which scope it
needs, and a token without scopes and a session may do all that is their user's. What belongs to
another user is a 404, as is everything for a link that was revoked. In a browser, sign in, and send
the value of the cookie `outlive_csrf` in `Outlive-CSRF` with every call that changes something.

**Other origins.** Pages of origins in `OUTLIVE_CORS_ORIGINS` may call the API with a bearer token;
their cookies are not read. Their preflight (`OPTIONS` with `Access-Control-Request-Method`) is
a 204 with what is allowed. Requests from every other origin's page are a 403 `cross_site`.

**Repeating a request.** Calls that create something take an `Idempotency-Key`. Send the same one
again if you do not know whether a request arrived.

**Streams** are Server-Sent Events, in UTF-8, with lines that end in LF. A frame is some lines and
a blank line: `event:` its kind, `data:` one line of JSON, and last `id:` the position after it. A
line that begins with `:` is a comment, sent when nothing else was for a while. `retry:` says
after how many milliseconds to come back. A response may end after a `retry:` at any time, also in
the middle of an answer: request the stream again with `Last-Event-ID`, or `after`, set to the
last id. Nothing is lost and nothing comes twice. Only an `end` event is the end; its `length` and
`sha256` prove that nothing is missing. A stream never answers 5xx, since `EventSource` would give
up for ever: a fault that passes is a 200 with `retry:` and an end.

**A position** counts Unicode code points over all parts of a message. Keep those you are given;
do not compute one from the length of a string.
"""

TAGS: Final[dict[str, str]] = {
    "Conversations": "A conversation is a tree of messages.",
    "Asking": "Each of these calls makes a message that is going to be written.",
    "Questions in line": "Questions that wait until the answer before them has ended, and are then"
    " asked by the service.",
    "Messages": "Reading a message, while it is written and afterwards.",
    "Durable streams": (
        "Messages for clients of the Durable Streams protocol, which say more about it than this"
        " document does."
    ),
    "Page": "What the page shows: messages as blocks of safe HTML, and the list of conversations"
    " with what changes in it. Any client may use it.",
    "Sign-in": "Sessions for browsers: of people with an account, or with an identity provider"
    " (OpenID Connect). Where there is no such way to sign in, these calls are a 404.",
    "Sharing": "A conversation that others may read: by a link, or as a named user.",
    "Service": "The service itself: probes, numbers, models, this document.",
}

#: Headers that many responses have, explained once.
HEADERS: Final[dict[str, Any]] = {
    "RateLimit-Limit": {
        "description": "Requests that the limit allows: the limit with the fewest left.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Remaining": {
        "description": "Requests that are left of it.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Reset": {
        "description": "Seconds after which it begins anew.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "Which credential is needed (RFC 6750).",
        "schema": {"type": "string"},
    },
}
#: Those of a request that was counted.
COUNTED: Final = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")

#: What a request may prove its user with: each alone, but a cookie together with `csrf`, if that is
#: here and the request changes something.
SECURITY_SCHEMES: Final[dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A JWT that the host product has signed, a service key (`olk_…`), or the"
        " secret of a link (`ols_…`), which reads one conversation. A key with the scope `act_as`"
        " acts for the user that `Outlive-User` names. A 401 says in `WWW-Authenticate` what is"
        " wrong."
        " Without sign-in (`OUTLIVE_AUTH=local`) no credential is needed, and none is read.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "outlive_session",
        "description": "A session, for browsers; where the public address is https its name is"
        " `__Host-outlive_session`. What changes something needs `Outlive-CSRF`, too.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": "Outlive-CSRF",
        "description": "The value of the cookie `outlive_csrf` (over https `__Host-outlive_csrf`),"
        " which a sign-in sets.",
    },
}
