"""The names by which people sign in to their accounts."""

import unicodedata
from typing import Final

#: Characters (code points) of a login.
LONGEST: Final = 100


def normal(login: str) -> str | None:
    """A login as it is stored: lower case, one form of what may be typed in several.

    None for what cannot be a login: empty, too long, with blanks or invisible characters.
    """
    if len(login) > LONGEST:
        return None
    found = unicodedata.normalize("NFKC", login.strip()).lower()
    fits = 0 < len(found) <= LONGEST and found.isprintable() and " " not in found
    return found if fits else None
