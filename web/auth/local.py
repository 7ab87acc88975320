"""Without sign-in: every request is the one local user's, whatever credential it carries."""

from typing import Final

from flask import Request

from shared.settings import Settings
from shared.store.tables import LOCAL_USER
from web.auth.principal import OWN_RIGHTS, Principal, Right

_USER: Final = Principal(LOCAL_USER, OWN_RIGHTS)
_OPERATOR: Final = Principal(LOCAL_USER, OWN_RIGHTS | {Right.OPERATE})


class Local:
    """The only user, who is also the operator, unless OUTLIVE_LIVE is off."""

    def __init__(self, settings: Settings) -> None:
        self._principal = _OPERATOR if settings.live else _USER

    def authenticate(self, request: Request) -> Principal:  # noqa: ARG002
        """Always the local user."""
        return self._principal
