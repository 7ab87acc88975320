"""OpenID Connect: people sign in at an identity provider that the settings name.

The authorization code flow (OpenID Connect Core 1.0, 3.1) with PKCE (RFC 7636), through Authlib:

1. `begin` gives the address at the provider, and a random secret for the browser, in a cookie that
   lives some minutes. `state`, `nonce` and PKCE's verifier are derived from the secret, so nothing
   is stored here, and whichever process the browser comes back to can go on.
2. The provider sends the browser back with a code. `finish` compares `state`: a link that somebody
   else made fits no cookie of this browser. It exchanges the code for an ID token, over a
   connection of our own, and returns whom the token names.

An ID token is accepted if a key of the provider's verifies it with that key's own algorithm
(`signing_keys`), it was made by this issuer for this client, in this sign-in (`nonce`), together
with this access token (`at_hash`), and has not expired.

What the provider says about itself is fetched at the first sign-in and again after an hour. What is
fetched is bounded (`fetching`). If the provider does not answer, nobody can sign in by it, and
those who are signed in stay.
"""

import base64
import hashlib
import hmac
import json
import math
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

import httpx2
import jwt
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from gevent.lock import BoundedSemaphore
from joserfc.errors import JoseError

from shared import secret_token, tls
from shared.errors import OutliveError
from shared.settings import Settings, is_trusted
from web.auth.fetching import fetch
from web.auth.host_users import is_subject
from web.auth.jwks import Jwks

#: Where the provider sends browsers back.
CALLBACK: Final = "/sign-in/oidc/callback"
#: Seconds that a sign-in at the provider may take.
ATTEMPT_SECONDS: Final = 600
#: Seconds for which what the provider says about itself is used.
METADATA_SECONDS: Final = 3600.0
#: Seconds by which the clocks of two machines may differ.
LEEWAY: Final = 60
#: Characters of a code, and of a name that is kept.
CODE_CHARS: Final = 4_000
NAME_CHARS: Final = 100
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
#: What may go wrong with a provider: it cannot be reached, or what it says cannot be accepted.
_FAILURES: Final = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    AuthlibBaseError,
    JoseError,
    jwt.PyJWTError,
    OutliveError,  # its keys were never fetched
    ValueError,
    RecursionError,
)

log = structlog.get_logger("auth")


class NotSignedIn(Exception):
    """This sign-in did not succeed. `why`: "refused" by the person or the provider, "expired" if
    this browser did not begin it or took too long, else "failed"."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Identity(NamedTuple):
    """Whom the provider names."""

    subject: str
    name: str


class Begun(NamedTuple):
    """A sign-in that was begun: where the browser goes, and the secret that it keeps."""

    url: str
    secret: str


class IdentityProvider:
    """The provider of the settings."""

    def __init__(self, settings: Settings) -> None:
        self.issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._client_secret = settings.oidc_client_secret
        self._redirect_uri = settings.public_url + CALLBACK
        self._tls = tls.client_context()
        self._fetching = BoundedSemaphore()
        self._metadata: dict[str, Any] = {}
        self._keys: Jwks | None = None
        #: when that was fetched, and when the last fetch failed (monotonic)
        self._fetched_at = self._failed_at = -math.inf

    @property
    def name(self) -> str:
        """What people are shown of it: its host."""
        return urlsplit(self.issuer).netloc

    def begin(self) -> Begun:
        """Begin a sign-in. Raises NotSignedIn if the provider cannot be reached."""
        secret = secret_token.SESSION.new()
        try:
            metadata, _ = self._known()
            url, _ = self._client(metadata).create_authorization_url(
                metadata["authorization_endpoint"],
                state=_derived(secret, "state"),
                nonce=_derived(secret, "nonce"),
                code_verifier=_derived(secret, "verifier"),
            )
        except _FAILURES as error:
            raise self._failed(error) from None
        return Begun(str(url), secret)

    def finish(self, secret: str, sent: Mapping[str, str]) -> Identity:
        """Whom the provider named. `sent`: the query with which the browser came back.

        Raises NotSignedIn.
        """
        state = _derived(secret, "state")
        if not secret or not hmac.compare_digest(sent.get("state", "").encode(), state.encode()):
            raise NotSignedIn("expired")
        if sent.get("iss", self.issuer) != self.issuer:  # RFC 9207
            raise NotSignedIn("failed")
        code = sent.get("code", "")
        if "error" in sent or not 0 < len(code) <= CODE_CHARS:
            raise NotSignedIn("refused")
        try:
            metadata, keys = self._known()
            token = self._client(metadata).fetch_token(
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                redirect_uri=self._redirect_uri,
                code_verifier=_derived(secret, "verifier"),
            )
            return _identity(self._claims(keys, token, _derived(secret, "nonce")))
        except _FAILURES as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> NotSignedIn:
        # not its message, which may quote what the provider sent
        log.warning("oidc.failed", error=type(error).__name__, issuer=self.issuer)
        return NotSignedIn("failed")

    def _client(self, metadata: dict[str, Any]) -> OAuth2Client:
        return OAuth2Client(
            _Session(self._tls),
            self._client_id,
            self._client_secret,
            token_endpoint_auth_method=self._auth_method(metadata),
            scope="openid profile email",
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
        )

    def _auth_method(self, metadata: dict[str, Any]) -> str:
        """How we prove to the provider who we are: in a header, unless it knows a form only."""
        supported = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if not self._client_secret:
            return "none"
        return "client_secret_basic" if "client_secret_basic" in supported else "client_secret_post"

    def _known(self) -> tuple[dict[str, Any], Jwks]:
        """What the provider says about itself, and its keys."""
        asked_at = time.monotonic()
        with self._fetching:
            if self._failed_at > asked_at:  # for one that was asked before; it would fail again
                raise ValueError
            if self._keys is None or asked_at - self._fetched_at > METADATA_SECONDS:
                try:
                    metadata = self._discovered()
                except BaseException:
                    self._failed_at = time.monotonic()
                    raise
                if self._keys is None or metadata["jwks_uri"] != self._metadata["jwks_uri"]:
                    self._keys = Jwks(metadata["jwks_uri"])
                self._metadata, self._fetched_at = metadata, time.monotonic()
            return self._metadata, self._keys

    def _discovered(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0, 4. Raises ValueError for what cannot be used."""
        url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        status, content = fetch(self._tls, "GET", url)
        found = json.loads(content)
        if status != 200 or not isinstance(found, dict) or found.get("issuer") != self.issuer:
            raise ValueError
        for name in _ENDPOINTS:
            where = found.get(name)
            if not (isinstance(where, str) and is_trusted(where)):
                raise ValueError
        return found

    def _claims(self, keys: Jwks, token: dict[str, Any], nonce: str) -> dict[str, Any]:
        """What the ID token says, if it is good. Raises PyJWTError, JoseError and ValueError."""
        encoded = token.get("id_token")
        if not isinstance(encoded, str):
            raise ValueError
        header = jwt.get_unverified_header(encoded)
        for signing in keys.find(str(header.get("alg")), header.get("kid")):
            try:
                claims: dict[str, Any] = jwt.decode(
                    encoded,
                    signing.key,
                    algorithms=[signing.algorithm],
                    audience=self._client_id,
                    issuer=self.issuer,
                    leeway=LEEWAY,
                    options={"require": ["exp", "iat", "sub", "aud", "iss"]},
                )
            except jwt.InvalidSignatureError:
                continue
            expected = {
                "nonce": nonce,
                "client_id": self._client_id,
                "access_token": token.get("access_token"),
            }
            CodeIDToken(claims, header, None, expected).validate(leeway=LEEWAY)
            return claims
        raise ValueError


class _Response:
    """A response as Authlib reads it."""

    def __init__(self, status: int, content: bytes) -> None:
        self.status_code = status
        self._content = content

    def json(self) -> Any:
        return json.loads(self._content)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise ValueError


class _Session:
    """What Authlib sends requests with."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def post(self, url: str, *, data: dict[str, str], headers: dict[str, str], auth: Any) -> Any:
        """Send a form."""
        url, headers, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        return _Response(*fetch(self._context, "POST", url, headers, body))


def _derived(secret: str, name: str) -> str:
    """A value that only who knows the secret can compute; 43 characters, as PKCE asks for."""
    digest = hmac.new(secret.encode(), name.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _identity(claims: dict[str, Any]) -> Identity:
    subject = claims["sub"]
    if not is_subject(subject):
        raise ValueError
    names = (claims.get(name) for name in ("name", "preferred_username", "email"))
    name = next((one for one in names if isinstance(one, str) and one.isprintable() and one), "")
    return Identity(subject, name[:NAME_CHARS] or subject)
