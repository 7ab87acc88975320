"""Signing in: a password or an identity provider's word becomes a session. Changing a password.

Nothing in an answer says whether a login exists: an unknown one, a disabled one and a wrong
password get the same answer after the same work.
"""

import uuid
from contextlib import suppress
from typing import NamedTuple

from shared import secret_token
from shared.errors import Forbidden, Invalid, StorageDown
from shared.settings import Settings
from shared.store import accounts, audit, sessions, users
from shared.store.accounts import Account
from shared.store.audit import Action
from shared.store.database import Database
from web.auth import known_devices
from web.auth.hashing import Hashing
from web.auth.oidc import Identity, IdentityProvider
from web.auth.principal import Credential, Principal
from web.auth.sessions import lifetime
from web.errors import BadCredential, SignInFailed


class SignedIn(NamedTuple):
    """A new session's secret, the sessions that ended for it, and what the browser is known by."""

    token: str
    ended: list[Credential]
    #: by which the account knows this browser again; empty without a password
    device: str = ""


class Changed(NamedTuple):
    """The sessions that ended for another password, and what the browser is known by now."""

    ended: list[Credential]
    device: str


class SignIns:
    """The sign-ins of one process."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._db = db
        self._lifetime = lifetime(settings)
        self._hashing = Hashing()
        #: the identity provider by which people may sign in, too
        self.provider = IdentityProvider(settings) if settings.oidc_issuer else None

    def knows(self, login: str, device: str) -> bool:
        """Whether a browser that sends `device` has signed in to the account before.

        Raises StorageDown.
        """
        if not (login and device):
            return False
        account = accounts.find(self._db, login)
        encoded = account.password_hash if account else self._hashing.nobodys
        return known_devices.is_proof(device, encoded)

    def with_password(
        self, login: str, password: str, *, address: str, replaces: str | None = None
    ) -> SignedIn:
        """Sign in to an account; `login` is as `logins.normal` makes it, or empty.

        `replaces`: the hash of the browser's session before. Raises SignInFailed, TooBusy and
        StorageDown.
        """
        account = accounts.find(self._db, login) if login else None
        verdict = self._hashing.check(password, account and account.password_hash)
        if account is not None and verdict.right:
            done = self._begin(
                account.id, "password", address, replaces, password_hash=account.password_hash
            )
            if done is not None:
                if verdict.rehashed is not None:
                    self._rehash(account, verdict.rehashed)
                kept = verdict.rehashed or account.password_hash
                return done._replace(device=known_devices.proof(kept))
        audit.record(
            self._db,
            Action.SIGN_IN_FAILED,
            user_id=account and account.id,
            credential="password",
            address=address,
        )
        raise SignInFailed

    def login_of(self, user_id: uuid.UUID) -> str:
        """By which login a user signs in who is in a session.

        Raises BadCredential for one who was disabled, Invalid for one who has no password, and
        StorageDown.
        """
        found = accounts.password_of(self._db, user_id)
        if found is None:
            raise BadCredential(code="session_ended")
        if found.login is None or found.password_hash is None:
            raise Invalid(code="no_password")
        return found.login

    def change_password(
        self, login: str, who: Principal, current: str, new: str, *, address: str
    ) -> Changed:
        """Give the user of a session another password, and end their other sessions.

        Raises Forbidden for a wrong password, and if the session or its user may not be used any
        more; TooBusy and StorageDown.
        """
        account, session_id = accounts.find(self._db, login), uuid.UUID(who.credential.id)
        right = self._hashing.check(current, account and account.password_hash).right
        if account is not None and right:
            encoded = self._hashing.hashed(new)
            ended = accounts.change_password(
                self._db, account, encoded, session_id=session_id, address=address
            )
            if ended is not None:
                gone = [Credential("session", str(one)) for one in ended]
                return Changed(gone, known_devices.proof(encoded))
        audit.record(
            self._db,
            Action.SIGN_IN_FAILED,
            user_id=who.user_id,
            credential=f"session {session_id}",
            address=address,
        )
        raise Forbidden(code="wrong_password")

    def with_identity(
        self, issuer: str, identity: Identity, *, address: str, replaces: str | None = None
    ) -> SignedIn:
        """Sign in the user whom an identity provider names; a new one is made.

        Raises SignInFailed for one who is disabled, and StorageDown.
        """
        user = users.by_subject(self._db, issuer, identity.subject, identity.name)
        done = self._begin(user.id, "oidc", address, replaces)
        if done is None:
            audit.record(
                self._db,
                Action.SIGN_IN_FAILED,
                user_id=user.id,
                credential="oidc",
                address=address,
            )
            raise SignInFailed
        return done

    def _begin(
        self,
        user_id: uuid.UUID,
        credential: str,
        address: str,
        replaces: str | None,
        password_hash: str | None = None,
    ) -> SignedIn | None:
        token = secret_token.SESSION.new()
        begun = sessions.begin(
            self._db,
            user_id,
            token_hash=secret_token.hashed(token),
            lifetime=self._lifetime,
            credential=credential,
            password_hash=password_hash,
            replaces=replaces,
            address=address,
        )
        if begun is None:
            return None
        return SignedIn(token, [Credential("session", str(one)) for one in begun.ended])

    def _rehash(self, account: Account, encoded: str) -> None:
        with suppress(StorageDown):  # then at the next sign-in
            accounts.rehash(self._db, account, encoded)
