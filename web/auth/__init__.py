"""Who makes a request, and whether they may make it. The gate checks it before every route."""

from web.auth.gate import register
from web.auth.kinds import credential_kinds
from web.auth.principal import Credential, Principal, Right, current_user, principal
from web.auth.revocations import Revocations

__all__ = [
    "Credential",
    "Principal",
    "Revocations",
    "Right",
    "credential_kinds",
    "current_user",
    "principal",
    "register",
]
