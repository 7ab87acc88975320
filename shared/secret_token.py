"""The secrets that this service makes: a prefix and 256 random bits, of which a hash is stored."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final

_RANDOM: Final = re.compile("[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kind:
    """What the secrets of one kind begin with; by it people and secret scanners recognise them."""

    prefix: str

    def new(self) -> str:
        """A secret that cannot be guessed."""
        return self.prefix + secrets.token_urlsafe(32)

    def is_well_formed(self, token: str) -> bool:
        """Whether this could be one; what could not need not be looked up."""
        start = len(self.prefix)
        return token.startswith(self.prefix) and _RANDOM.fullmatch(token, start) is not None

    def shown(self, token: str) -> str:
        """The beginning by which people tell them apart: 48 of the bits."""
        return token[: len(self.prefix) + 8]


SERVICE_KEY: Final = Kind("olk_")
SHARE_LINK: Final = Kind("ols_")
#: Of cookies, which have a name.
SESSION: Final = Kind("")


def hashed(token: str) -> str:
    """What is stored of a secret. It has 256 random bits, so a fast hash cannot be reversed, and
    finding it by an index reveals nothing about another."""
    return hashlib.sha256(token.encode()).hexdigest()
