"""The protocol of a kind of credential: one file in this package each."""

from typing import Protocol

from flask import Request

from web.auth.principal import Principal


class CredentialKind(Protocol):
    """A way in which a request can prove who makes it."""

    def authenticate(self, request: Request) -> Principal | None:
        """Who makes this request; None if it has no credential of this kind.

        Raises NoCredential if it has one that is not good, and Unavailable if that cannot be known
        now.
        """
