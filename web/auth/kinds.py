"""Which kinds of credentials a deployment accepts, in the order in which they are tried."""

from collections.abc import Sequence

from shared.settings import Settings
from shared.store.database import Database
from web.auth.credential_kind import CredentialKind
from web.auth.host_tokens import HostTokens
from web.auth.host_users import HostUsers
from web.auth.jwks import Jwks
from web.auth.local import Local
from web.auth.revocations import Revocations
from web.auth.service_keys import ServiceKeys
from web.auth.session_cookies import SessionCookies
from web.auth.sessions import Sessions, lifetime
from web.auth.share_links import ShareLinks
from web.auth.signing_keys import KeySource, fixed_keys


def credential_kinds(
    settings: Settings, db: Database, revocations: Revocations
) -> Sequence[CredentialKind]:
    """The kinds that OUTLIVE_AUTH and its settings name.

    A kind that finds a credential of its own decides: one that is not good is not forgiven because
    of another that is.
    """
    if settings.auth == "local":
        return [Local(settings)]
    users = HostUsers(db, settings.jwt_issuer, revocations)
    kinds: list[CredentialKind] = [
        ShareLinks(db, revocations),
        ServiceKeys(settings, db, users, revocations),
    ]
    sources = key_sources(settings)
    if sources:
        kinds.append(HostTokens(settings, users, sources, revocations))
    kinds.append(Sessions(settings, db, cookies_for(settings), revocations))
    return kinds


def cookies_for(settings: Settings) -> SessionCookies:
    """The cookies of this deployment's sessions."""
    return SessionCookies(
        secure=settings.is_https,
        seconds=lifetime(settings).most,
        framed=settings.is_https and bool(settings.frames),
    )


def key_sources(settings: Settings) -> Sequence[KeySource]:
    """Where the keys are with which tokens are checked."""
    fixed = fixed_keys(settings)
    sources: list[KeySource] = [fixed] if fixed else []
    if settings.jwt_jwks_url:
        sources.append(Jwks(settings.jwt_jwks_url))
    return sources
