"""Browsers that have signed in to an account before, so that no stranger can lock its user out.

Attempts to sign in are limited for each account, and anyone can use them up. A browser that has
signed in keeps a cookie that proves it (OWASP, "Slow Down Online Guessing Attacks with Device
Cookies"), and what comes with that is counted apart from what strangers send.

The cookie is an HMAC that is keyed with the account's password hash. So nothing is stored here, the
cookie names nobody and lets nobody in, and another password makes it worthless.
"""

import hashlib
import hmac


def proof(password_hash: str) -> str:
    """What a browser keeps that has signed in to the account with this password hash."""
    return hmac.new(password_hash.encode(), b"device", hashlib.sha256).hexdigest()


def is_proof(sent: str, password_hash: str) -> bool:
    """Whether a browser sent what `proof` gave it."""
    return hmac.compare_digest(sent.encode(), proof(password_hash).encode())
