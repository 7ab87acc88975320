"""A host product's tokens: `Authorization: Bearer <JWT>`, signed by its backend for its own users.

A token is accepted if a key of ours verifies it with that key's algorithm, `exp` lies in the future
and `nbf` and `iat` do not, `aud` and `iss` are what the settings say, and `sub` names a user. A
token for an audience is refused where none is configured: it was made for another service.

`scope` limits what the token may do; without it the user may do all that is theirs.

What is refused is not explained, because an explanation would help to forge. Only that a token has
expired is said, and only if it was good otherwise.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import jwt
from flask import Request

from shared.settings import Settings
from web.auth.checked import Checked
from web.auth.credential_kind import bearer
from web.auth.host_users import HostUsers, is_subject
from web.auth.principal import Credential, Principal
from web.auth.revocations import Revocations
from web.auth.scopes import OWN, rights_of
from web.auth.signing_keys import KeySource, SigningKey
from web.errors import BadCredential

#: Seconds by which the clocks of two machines may differ.
LEEWAY: Final = 10
#: A moment, in Unix seconds, that no process lives to see.
FAR: Final = 1 << 53
#: Characters of a token's own id that are kept.
ID_CHARS: Final = 64
_OPTIONS: Final[Any] = {"require": ["exp", "sub"], "enforce_minimum_key_length": True}


class HostTokens:
    """Checks tokens with the keys of the settings."""

    def __init__(
        self,
        settings: Settings,
        users: HostUsers,
        sources: Sequence[KeySource],
        revocations: Revocations,
    ) -> None:
        self._live = settings.live
        self._audience = settings.jwt_audience or None
        self._issuer = settings.jwt_issuer or None
        self._sources = sources
        self._users = users
        self._checked = Checked(revocations)

    def authenticate(self, request: Request) -> Principal | None:
        """The user whom the token names."""
        token = bearer(request)
        if token is None:
            return None
        return self._checked.get_or(partial(self._check, token), token)

    def _check(self, token: str) -> Principal:
        claims = self._claims(token)
        subject = claims["sub"]
        if not is_subject(subject):
            raise BadCredential
        rights = rights_of(_scopes(claims), live=self._live)
        user = self._users.find(subject)
        return Principal(
            user.user_id,
            rights,
            Credential("jwt", str(claims.get("jti", ""))[:ID_CHARS]),
            float(min(int(claims["exp"]), FAR) + LEEWAY),
            user.checked_at,
        )

    def _claims(self, token: str) -> dict[str, Any]:
        """What a good token says. Raises BadCredential and Unavailable."""
        try:
            header = jwt.get_unverified_header(token)
            for signing in self._keys(header):
                try:
                    return self._verified(token, signing)
                except jwt.InvalidSignatureError:
                    continue
        except jwt.ExpiredSignatureError:
            raise BadCredential(code="token_expired") from None
        except jwt.PyJWTError:
            raise BadCredential from None
        raise BadCredential

    def _keys(self, header: dict[str, Any]) -> Iterator[SigningKey]:
        algorithm, key_id = header.get("alg"), header.get("kid")
        if isinstance(algorithm, str):
            for source in self._sources:
                yield from source.find(algorithm, key_id)

    def _verified(self, token: str, signing: SigningKey) -> dict[str, Any]:
        return jwt.decode(
            token,
            signing.key,
            algorithms=[signing.algorithm],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY,
            options=_OPTIONS,
        )


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    """The scopes of a token (RFC 8693, 4.2: names with blanks between), or a list of them."""
    scope = claims.get("scope")
    if scope is None:
        return frozenset(OWN)
    names = scope.split(" ") if isinstance(scope, str) else scope
    if not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
        raise BadCredential
    return frozenset(names)
