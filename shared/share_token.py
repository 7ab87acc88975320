"""What the secret of a link is: `ols_` and 256 random bits. Only a hash of it is stored."""

import re
import secrets
from typing import Final

from shared.service_key import hashed

__all__ = ["PREFIX", "hashed", "is_well_formed", "new_token"]

#: By it people and secret scanners recognise it.
PREFIX: Final = "ols_"
_TOKEN: Final = re.compile(PREFIX + "[A-Za-z0-9_-]{43}", re.ASCII)


def new_token() -> str:
    """A secret that cannot be guessed."""
    return PREFIX + secrets.token_urlsafe(32)


def is_well_formed(token: str) -> bool:
    """Whether this could be one; what could not need not be looked up."""
    return _TOKEN.fullmatch(token) is not None
