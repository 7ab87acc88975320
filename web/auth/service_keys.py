"""Service keys: `Authorization: Bearer olk_...`, for programs.

Clients of Anthropic's API send the key as `x-api-key`, where nothing but a service key is accepted.

A key acts for the user whom it belongs to. One with the scope `act_as` may name a user of the host
product in `Outlive-User`, and then acts for that one. What a key may do is said by its scopes, also
then.
"""

import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

import gevent
from flask import Request

from shared.errors import Invalid, StorageDown
from shared.scopes import Scope
from shared.secret_token import SERVICE_KEY, hashed
from shared.settings import Settings
from shared.store import service_keys
from shared.store.database import Database
from shared.store.service_keys import ValidKey
from web.auth.checked import Checked
from web.auth.credential_kind import api_key, bearer
from web.auth.host_users import HostUsers, is_subject
from web.auth.principal import Credential, Principal
from web.auth.revocations import Revocations
from web.auth.scopes import rights_of
from web.errors import BadCredential, InsufficientScope

#: The header that names the user for whom a key acts.
ON_BEHALF: Final = "HTTP_OUTLIVE_USER"


class ServiceKeys:
    """Checks service keys against Postgres."""

    def __init__(
        self, settings: Settings, db: Database, users: HostUsers, revocations: Revocations
    ) -> None:
        self._db = db
        self._live = settings.live
        self._users = users
        self._checked = Checked(revocations)

    def authenticate(self, request: Request) -> Principal | None:
        """The key's user, or the one that the request names."""
        key = api_key(request)
        if key is None:
            key = bearer(request)
            if key is None or not key.startswith(SERVICE_KEY.prefix):
                return None
        subject: str = request.environ.get(ON_BEHALF, "")
        named = ON_BEHALF in request.environ
        check = partial(self._check, key, subject, named=named)
        return self._checked.get_or(check, key, subject)

    def _check(self, key: str, subject: str, *, named: bool) -> Principal:
        checked_at = time.monotonic()
        row = service_keys.valid(self._db, hashed(key)) if SERVICE_KEY.is_well_formed(key) else None
        if row is None:
            raise BadCredential(code="key_invalid")
        if row.unnoted:
            gevent.spawn(self._note_use, row)
        principal = Principal(
            row.user_id,
            rights_of(row.scopes, live=self._live),
            Credential("key", str(row.id)),
            None if row.expires_at is None else row.expires_at.timestamp(),
            checked_at,
            row.on_disconnect,
        )
        return self._for_another(principal, row, subject) if named else principal

    def _for_another(self, principal: Principal, row: ValidKey, header: str) -> Principal:
        if Scope.ACT_AS not in row.scopes:
            raise InsufficientScope(
                Scope.ACT_AS, "Only a key with the scope act_as may name a user in Outlive-User."
            )
        try:
            subject = header.encode("latin-1").decode()  # WSGI hands out bytes as latin-1
        except UnicodeDecodeError:
            raise Invalid(code="invalid_user") from None
        if not is_subject(subject):
            raise Invalid(code="invalid_user")
        user = self._users.find(subject)
        checked_at = min(principal.checked_at, user.checked_at)
        return replace(principal, user_id=user.user_id, checked_at=checked_at)

    def _note_use(self, row: ValidKey) -> None:
        with suppress(StorageDown):
            service_keys.note_use(self._db, row.id)
