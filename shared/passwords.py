"""Passwords: which are accepted, and what is kept of them (argon2id).

A hash takes tens of milliseconds and MEMORY_KIB on purpose. So whatever runs an event loop hashes
in a thread (`web/auth/hashing.py`).
"""

import base64
import secrets
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

#: Characters (code points) of a password (OWASP ASVS 5.0, 6.2.1 and 6.2.9).
SHORTEST: Final = 8
LONGEST: Final = 1024
#: Memory, passes and threads of one hash (OWASP Password Storage Cheat Sheet).
MEMORY_KIB: Final = 19 * 1024
_PASSES: Final = 2
_THREADS: Final = 1

_HASHER: Final = PasswordHasher(
    time_cost=_PASSES, memory_cost=MEMORY_KIB, parallelism=_THREADS, hash_len=32, salt_len=16
)


def why_refused(password: str) -> str | None:
    """What is wrong with a new password, as a sentence; None if it may be used."""
    if not SHORTEST <= len(_normal(password)) <= LONGEST:
        return f"A password has {SHORTEST} to {LONGEST} characters."
    return None


def hashed(password: str) -> str:
    """What is stored of a password: argon2id's encoded hash, with a salt of its own."""
    return _HASHER.hash(_encoded(password))


def matches(password: str, encoded: str) -> bool:
    """Whether this is the password of an encoded hash."""
    try:
        return _HASHER.verify(encoded, _encoded(password))
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(encoded: str) -> bool:
    """Whether a hash was made with other parameters than those of today."""
    return _HASHER.check_needs_rehash(encoded)


def unmatchable() -> str:
    """A hash that no password matches, and that takes as long to check as any other."""
    salt, digest = (_base64(secrets.token_bytes(length)) for length in (16, 32))
    return f"$argon2id$v=19$m={MEMORY_KIB},t={_PASSES},p={_THREADS}${salt}${digest}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _normal(password: str) -> str:
    """One form of what may be typed in several (NIST SP 800-63B: NFKC)."""
    return unicodedata.normalize("NFKC", password[: LONGEST + 1])


def _encoded(password: str) -> bytes:
    # a lone surrogate, which JSON can carry, is merely part of a wrong password
    return _normal(password).encode("utf-8", "surrogatepass")
