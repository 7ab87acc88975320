"""How an operator gets into Flower: a link that signs in, and credentials for tools.

One secret, `name:password`, opens it. Tools send it (HTTP Basic). A browser should not keep it: the
link carries a token made of it, which Flower exchanges for a cookie made of it in another way.
"""

import hashlib
import hmac
import secrets
from urllib.parse import quote, urlsplit

#: Below Flower's own address.
SIGN_IN = "/sign-in"


def new_credential() -> str:
    """A name and a password that cannot be guessed."""
    return f"operator:{secrets.token_hex(16)}"


def link_token(credential: str) -> str:
    """What a link carries that signs in."""
    return _made_of(credential, "link")


def session_token(credential: str) -> str:
    """What a browser keeps that has signed in."""
    return _made_of(credential, "session")


def sign_in_link(address: str, credential: str) -> str:
    """The address that signs a browser in. `address`: http://host:port, perhaps with a path."""
    return f"{address}{SIGN_IN}?token={link_token(credential)}"


def with_credential(address: str, credential: str) -> str:
    """The address with the credential in it, for tools."""
    where = urlsplit(address)
    name, _, password = credential.partition(":")
    login = f"{quote(name, safe='')}:{quote(password, safe='')}"
    return where._replace(netloc=f"{login}@{where.netloc}").geturl()


def _made_of(credential: str, purpose: str) -> str:
    return hmac.new(credential.encode(), purpose.encode(), hashlib.sha256).hexdigest()
