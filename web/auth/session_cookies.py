"""The cookies of a session, and its CSRF token.

- `outlive_session` is the session's secret: 256 random bits, of which Postgres keeps the SHA-256.
  No script can read it (HttpOnly).
- `outlive_csrf` is the session's CSRF token, an HMAC that is keyed with the secret. Our page reads
  it and sends it in a header with whatever writes. Another site's page can neither read the cookie
  nor set the header, and a cookie that it managed to plant fits no session.

Both stay on this host and are not sent with requests that other sites' pages make, but for links
that a person follows (SameSite=Lax). Where the public address is https they are Secure, and their
names begin with `__Host-`: no other host, and nobody on a network, can plant such a cookie
(RFC 6265bis, 4.1.3).

Where listed origins may show the page in a frame (OUTLIVE_FRAME_ORIGINS) and the address is https,
they are SameSite=None, as a frame's page has no others, and Partitioned: those of a frame are kept
for the site around it, and are not sent from anywhere else. What keeps other sites out is the same
as ever: `site`, and the CSRF token.
"""

import base64
import hashlib
import hmac
from typing import Final

from flask import Request, Response

from shared import secret_token

#: The header with the CSRF token, as it is in a WSGI environ, and as the page sends it.
CSRF_ENVIRON: Final = "HTTP_OUTLIVE_CSRF"
SESSION: Final = "outlive_session"
CSRF: Final = "outlive_csrf"
#: What a browser keeps while its user signs in at an identity provider: a secret and where to go.
ATTEMPT: Final = "outlive_oidc"
#: What it keeps after a sign-in with a password (`known_devices`), and for how many seconds.
DEVICE: Final = "outlive_device"
DEVICE_SECONDS: Final = 365 * 86_400


def csrf_token(token: str) -> str:
    """The CSRF token of a session with this secret."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


class SessionCookies:
    """The cookies of one deployment."""

    def __init__(self, *, secure: bool, seconds: float, framed: bool = False) -> None:
        """`secure`: the public address is https. `seconds`: how long a browser keeps them.
        `framed`: they are also for pages in frames of other sites."""
        self._framed = framed
        self._secure = secure
        self._seconds = int(seconds)
        self._prefix = "__Host-" if secure else ""

    def token(self, request: Request) -> str | None:
        """The secret that a request carries, well-formed or not; None without one."""
        if "HTTP_COOKIE" not in request.environ:
            return None
        return request.cookies.get(self._prefix + SESSION)

    def hash(self, request: Request) -> str | None:
        """What Postgres would keep of it; None for what could be no secret."""
        token = self.token(request)
        if token is None or not secret_token.SESSION.is_well_formed(token):
            return None
        return secret_token.hashed(token)

    def has_csrf(self, request: Request) -> bool:
        """Whether the request carries the CSRF token of its session."""
        sent: str = request.environ.get(CSRF_ENVIRON, "")
        token = self.token(request) or ""
        return hmac.compare_digest(sent.encode(), csrf_token(token).encode())

    def set(self, response: Response, token: str) -> None:
        """Have the browser keep a session."""
        self._set(response, SESSION, token, self._seconds, hidden=True)
        self._set(response, CSRF, csrf_token(token), self._seconds, hidden=False)

    def clear(self, response: Response) -> None:
        """Have the browser forget the session."""
        self._set(response, SESSION, "", 0, hidden=True)
        self._set(response, CSRF, "", 0, hidden=False)

    def device(self, request: Request) -> str:
        """What a browser sends that has signed in before; empty without it."""
        return request.cookies.get(self._prefix + DEVICE, "")

    def set_device(self, response: Response, proof: str) -> None:
        """Have the browser keep that, also after it has signed out."""
        self._set(response, DEVICE, proof, DEVICE_SECONDS, hidden=True)

    def set_attempt(self, response: Response, secret: str, back: str, seconds: int) -> None:
        """Have the browser keep what it needs when it comes back from an identity provider."""
        value = f"{secret}.{base64.urlsafe_b64encode(back.encode()).decode().rstrip('=')}"
        self._set(response, ATTEMPT, value, seconds, hidden=True)

    def attempt(self, request: Request) -> tuple[str, str]:
        """The secret, and where to go; both empty for what is no such cookie."""
        secret, _, back = request.cookies.get(self._prefix + ATTEMPT, "").partition(".")
        try:
            path = base64.urlsafe_b64decode(back + "=" * (-len(back) % 4)).decode()
        except ValueError:
            return "", ""
        return (secret, path) if secret_token.SESSION.is_well_formed(secret) else ("", "")

    def clear_attempt(self, response: Response) -> None:
        """Have the browser forget it."""
        self._set(response, ATTEMPT, "", 0, hidden=True)

    def _set(self, response: Response, name: str, value: str, age: int, *, hidden: bool) -> None:
        response.set_cookie(
            self._prefix + name,
            value,
            max_age=age,
            path="/",
            secure=self._secure,
            httponly=hidden,
            samesite="None" if self._framed else "Lax",
            partitioned=self._framed,
        )
