"""Who makes a request, and whether they may make it. The gate checks it before every route."""

from web.auth.gate import register
from web.auth.kinds import cookies_for, credential_kinds
from web.auth.pages import asked_path, is_navigation, safe_path, sign_in_path
from web.auth.principal import Credential, Principal, Right, current_user, principal
from web.auth.revocations import Revocations, Revoked
from web.auth.session_cookies import SessionCookies
from web.auth.sign_ins import SignedIn, SignIns

__all__ = [
    "Credential",
    "Principal",
    "Revocations",
    "Revoked",
    "Right",
    "SessionCookies",
    "SignIns",
    "SignedIn",
    "asked_path",
    "cookies_for",
    "credential_kinds",
    "current_user",
    "is_navigation",
    "principal",
    "register",
    "safe_path",
    "sign_in_path",
]
