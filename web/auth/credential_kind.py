"""The protocol of a kind of credential: one file in this package each."""

from typing import Final, Protocol

from flask import Request

from web.auth.principal import Principal
from web.errors import BadCredential

#: Characters of a bearer token. gunicorn refuses a line of more than 8,190.
TOKEN_CHARS: Final = 8_000


class CredentialKind(Protocol):
    """A way in which a request can prove who makes it."""

    def authenticate(self, request: Request) -> Principal | None:
        """Who makes this request; None if it has no credential of this kind.

        Raises BadCredential if it has one that is not good, and Unavailable if that cannot be known
        now.
        """


def api_key(request: Request) -> str | None:
    """The key in `x-api-key`, where clients of Anthropic's API put it, if there is no Authorization
    beside it. Raises BadCredential."""
    key = request.environ.get("HTTP_X_API_KEY")
    if key is None or "HTTP_AUTHORIZATION" in request.environ:
        return None
    return _token(key)


def bearer(request: Request) -> str | None:
    """The token in `Authorization: Bearer`; None without one. Raises BadCredential."""
    scheme, _, token = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return _token(token)


def _token(token: str) -> str:
    token = str(token).strip(" ")
    if not (0 < len(token) <= TOKEN_CHARS and token.isascii() and token.isprintable()):
        raise BadCredential
    return token
