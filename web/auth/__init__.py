"""Who makes a request, and whether they may make it. The gate checks it before every route.

The kinds of credentials are not imported here: what reads keys imports ssl, and gunicorn's
configuration, which imports some of web, is read before gevent patches that.
"""

from web.auth.gate import register
from web.auth.pages import asked_path, is_navigation, safe_path, sign_in_path
from web.auth.principal import Credential, Principal, Right, current_user, principal
from web.auth.revocations import Revocations, Revoked
from web.auth.session_cookies import SessionCookies

__all__ = [
    "Credential",
    "Principal",
    "Revocations",
    "Revoked",
    "Right",
    "SessionCookies",
    "asked_path",
    "current_user",
    "is_navigation",
    "principal",
    "register",
    "safe_path",
    "sign_in_path",
]
