"""Without sign-in: every request is the one local user's, whatever credential it carries."""

from flask import Request

from shared.settings import Settings
from shared.store.tables import LOCAL_USER
from web.auth.principal import Principal
from web.auth.scopes import OPERATOR, rights_of


class Local:
    """The only user, who is also the operator."""

    def __init__(self, settings: Settings) -> None:
        self._principal = Principal(LOCAL_USER, rights_of(OPERATOR, live=settings.live))

    def authenticate(self, request: Request) -> Principal:  # noqa: ARG002
        """Always the local user."""
        return self._principal
