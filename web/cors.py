"""CORS: pages of the origins in OUTLIVE_CORS_ORIGINS may use the API, with a bearer token only.

Without a list there are no such headers at all, and a browser lets no other origin's page read
anything. A page of a listed origin proves who its user is by `Authorization`. Cookies are taken off
its requests and off the responses, so that no listed page acts for whoever happens to be signed in
here, nor signs anybody in. A browser is not told that cookies are allowed, either (no
`Access-Control-Allow-Credentials`). Preflights of listed origins are answered before anything else,
since they carry no credential; those of others are refused like every request from another site
(`web/auth/site.py`).
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from shared import origins

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Any], Iterable[bytes]]
Headers = list[tuple[str, str]]

#: Where the environ says that a page of a listed origin sends the request.
LISTED: Final = "outlive.listed_origin"

#: Where the API is: our own, and those that clients of others know.
_APIS: Final = ("/api/", "/v1/", "/ag-ui", "/streams/")
_METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
#: What clients send: our own, and those of others (OpenAI's and Anthropic's SDKs, TanStack).
_SENT: Final = ", ".join(
    (
        *("Authorization", "Content-Type", "Idempotency-Key", "Accept", "Last-Event-ID"),
        "If-None-Match",
        *("Outlive-User", "Outlive-Conversation-Id", "Outlive-On-Disconnect", "X-Run-Id"),
        *("OpenAI-Organization", "OpenAI-Project", "OpenAI-Beta"),
        *("X-Api-Key", "Anthropic-Version", "Anthropic-Beta"),
        "Anthropic-Dangerous-Direct-Browser-Access",
        *(
            f"X-Stainless-{name}"
            for name in (
                *("Arch", "Lang", "OS", "Package-Version", "Retry-Count", "Runtime"),
                *("Runtime-Version", "Timeout", "Helper-Method", "Helper"),
            )
        ),
    )
)
#: What a page may read besides the headers that every page may.
_READ: Final = ", ".join(
    (
        *("Outlive-Message-Id", "Outlive-Conversation-Id", "Outlive-Ignored", "Location", "ETag"),
        *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
        *("Retry-After", "X-Should-Retry", "X-Vercel-AI-UI-Message-Stream"),
        *("Stream-Next-Offset", "Stream-Cursor", "Stream-Up-To-Date", "Stream-Closed"),
        *("Stream-SSE-Data-Encoding", "Outlive-Error"),
    )
)
#: Seconds for which a browser remembers a preflight.
_MAX_AGE: Final = "600"
#: Caches must not give one origin's response to another.
_VARY: Final = ("Vary", "Origin")


def with_cors(app: WsgiApp, listed: frozenset[str]) -> WsgiApp:
    """The app, whose API pages of these origins may use."""

    def answer(environ: Environ, start_response: Any) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith(_APIS):
            return app(environ, start_response)
        added = [_VARY]
        origin = environ.get("HTTP_ORIGIN", "")
        if origin in listed and not origins.is_own(origin, environ.get("HTTP_HOST", "")):
            environ[LISTED] = True
            environ.pop("HTTP_COOKIE", None)
            added.append(("Access-Control-Allow-Origin", origin))
            if _is_preflight(environ):
                start_response("204 No Content", [*added, *_PREFLIGHT])
                return ()
            added.append(("Access-Control-Expose-Headers", _READ))

        def start(status: str, headers: Headers, *more: Any) -> Any:
            if LISTED in environ:  # nor is a browser given one for that page
                headers = [one for one in headers if one[0].lower() != "set-cookie"]
            return start_response(status, headers + added, *more)

        return app(environ, start)

    return answer


_PREFLIGHT: Final = [
    ("Access-Control-Allow-Methods", _METHODS),
    ("Access-Control-Allow-Headers", _SENT),
    ("Access-Control-Max-Age", _MAX_AGE),
]


def _is_preflight(environ: Environ) -> bool:
    method = environ["REQUEST_METHOD"]
    return method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
