"""What a service key is: `olk_` and 256 random bits. Only a prefix and a hash of it are stored."""

import hashlib
import re
import secrets
from typing import Final

#: By it people and secret scanners recognise a key.
PREFIX: Final = "olk_"
_KEY: Final = re.compile(PREFIX + "[A-Za-z0-9_-]{43}", re.ASCII)


def new_key() -> str:
    """A key that cannot be guessed."""
    return PREFIX + secrets.token_urlsafe(32)


def is_well_formed(key: str) -> bool:
    """Whether this could be a key; what could not need not be looked up."""
    return _KEY.fullmatch(key) is not None


def hashed(key: str) -> str:
    """What is stored of a key. A key has 256 random bits, so a fast hash cannot be reversed, and
    finding it by an index reveals nothing about another."""
    return hashlib.sha256(key.encode()).hexdigest()


def shown(key: str) -> str:
    """The beginning by which people tell keys apart: 48 of its bits."""
    return key[: len(PREFIX) + 8]
