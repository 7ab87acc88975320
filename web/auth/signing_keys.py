"""The keys with which tokens are checked, each pinned to one algorithm.

The algorithm follows from the kind of the key, never from the token: a token that names another one
is not checked with that key at all (RFC 8725, 3.1).
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from shared.settings import Settings

#: The algorithms of public keys.
PUBLIC: Final = frozenset({"RS256", "ES256", "EdDSA"})
#: Bits of an RSA key (NIST SP 800-131A: not fewer).
RSA_BITS: Final = 2048
_PEM: Final = re.compile("-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class SigningKey(NamedTuple):
    """A key, and the only algorithm that it is used with."""

    key: Any
    algorithm: str
    #: what tokens call it; None: any token may be signed with it
    id: str | None = None


class KeySource(Protocol):
    """Where keys come from."""

    def find(self, algorithm: str, key_id: str | None) -> Sequence[SigningKey]:
        """The keys that may have signed a token with this header. Raises Unavailable."""


class FixedKeys:
    """The keys that the settings hold."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._keys = keys

    def find(self, algorithm: str, key_id: str | None) -> Sequence[SigningKey]:  # noqa: ARG002
        """Those of the algorithm, whatever the token calls its key."""
        return [one for one in self._keys if one.algorithm == algorithm]


def algorithm_of(key: object) -> str | None:
    """The algorithm that a public key is used with; None for one that is not accepted."""
    match key:
        case RSAPublicKey():
            return "RS256" if key.key_size >= RSA_BITS else None
        case EllipticCurvePublicKey():
            return "ES256" if isinstance(key.curve, SECP256R1) else None
        case Ed25519PublicKey():
            return "EdDSA"
        case _:
            return None


def fixed_keys(settings: Settings) -> FixedKeys | None:
    """The secrets and the public keys of the settings; None if there are none.

    Raises SystemExit with a sentence for a key that cannot be used.
    """
    keys = [SigningKey(secret.encode(), "HS256") for secret in settings.jwt_secret.split()]
    blocks = _PEM.findall(settings.jwt_public_key)
    keys += [_public_key(block) for block in blocks]
    if settings.jwt_public_key and not blocks:
        raise _unusable("it is cut off")
    return FixedKeys(keys) if keys else None


def _public_key(pem: str) -> SigningKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise _unusable("that is no public key") from None
    algorithm = algorithm_of(key)
    if algorithm is None:
        raise _unusable(f"only RSA of {RSA_BITS} bits or more, P-256 and Ed25519 are accepted")
    return SigningKey(key, algorithm)


def _unusable(why: str) -> SystemExit:
    return SystemExit(f"The environment cannot be used:\n  OUTLIVE_JWT_PUBLIC_KEY: {why}.")
