"""The key by which push services recognise a deployment (VAPID, RFC 8292).

It is a private key of the curve P-256, written as browsers and servers write such keys: its 32
bytes in base64url. The public key is in each subscription, so another key makes all of them void.
"""

import base64
import time
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

#: Seconds for which a proof is good; services allow a day at most. It is made anew at half of it.
GOOD_SECONDS: Final = 12 * 3600


def encoded(data: bytes) -> str:
    """Bytes in base64url, as all of Web Push writes them."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """The bytes of base64url, with padding or without. Raises ValueError."""
    return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", True)


def new_key() -> str:
    """A new private key."""
    return encoded(
        ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32)
    )


class Vapid:
    """A deployment's key, and proofs that it is the one who sends."""

    def __init__(self, key: str, contact: str) -> None:
        """`contact`: a mailto: or https: address where its operator is reached."""
        self._key = ec.derive_private_key(int.from_bytes(decoded(key)), ec.SECP256R1())
        self._contact = contact
        self._proofs: dict[str, tuple[float, str]] = {}

    @property
    def public_key(self) -> str:
        """The public key, as a browser takes it to subscribe."""
        return encoded(public_bytes(self._key.public_key()))

    def authorization(self, origin: str) -> str:
        """The header `Authorization` for a push service. (Its origins are a short list.)"""
        made, proof = self._proofs.get(origin, (0.0, ""))
        if not made or time.time() - made > GOOD_SECONDS / 2 or time.time() < made:
            made = time.time()
            claims = {"aud": origin, "exp": int(made) + GOOD_SECONDS, "sub": self._contact}
            proof = jwt.encode(claims, self._key, algorithm="ES256")
            if len(self._proofs) > 100:  # a pattern of the list stands for many hosts
                self._proofs.clear()
            self._proofs[origin] = made, proof
        return f"vapid t={proof}, k={self.public_key}"


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as an uncompressed point, which is what browsers send."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def point(text: str) -> ec.EllipticCurvePublicKey:
    """The public key of a subscription. Raises ValueError for what is no point of the curve."""
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(text))
