"""Encrypts a message for a browser (RFC 8291), so that no push service can read it.

Written here and not taken from a library: pywebpush brings aiohttp and requests (its import takes
0.8 s in a worker, for which all streams would stand still, and 16 MB), and http-ece, which has only
this, comes as source that has to be built. The tests decrypt with http-ece what this encrypts.
"""

import os
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.vapid import decoded, point, public_bytes

#: Bytes of a record; a message is one record, and services take 4,096 bytes with its header.
RECORD: Final = 4_096
#: Bytes of a message: what is left of a record without the header, the padding's mark and the tag.
MOST: Final = 3_900


def encrypt(message: bytes, p256dh: str, auth: str) -> bytes:
    """The body of a request, with `Content-Encoding: aes128gcm`.

    `p256dh`, `auth`: the keys of the subscription. Raises ValueError for other keys.
    """
    assert len(message) <= MOST
    salt, ours, theirs = os.urandom(16), ec.generate_private_key(ec.SECP256R1()), point(p256dh)
    public = public_bytes(ours.public_key())
    info = b"WebPush: info\0" + public_bytes(theirs) + public
    shared = _derived(ours.exchange(ec.ECDH(), theirs), decoded(auth), info, 32)
    key = _derived(shared, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(shared, salt, b"Content-Encoding: nonce\0", 12)
    header = salt + RECORD.to_bytes(4) + bytes([len(public)]) + public
    # 2: this record is the last one.
    return header + AESGCM(key).encrypt(nonce, message + b"\2", None)


def _derived(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)
