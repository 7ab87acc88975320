"""Sign-in: whether there is a way in, and whether those answer who vouch for people."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2

from doctor.findings import Finding, Patient
from shared import tls
from shared.errors import StorageDown
from shared.settings import Settings, is_trusted
from shared.store import inspection
from shared.store.database import Database
from web.auth.fetching import fetch


def check(patient: Patient) -> Iterator[Finding]:
    """Nothing without sign-in."""
    settings = patient.web.settings
    if settings.auth == "local":
        return
    if settings.oidc_issuer:
        yield from _provider(settings.oidc_issuer)
    if settings.jwt_jwks_url:
        yield from _keys(settings.jwt_jwks_url, "Check OUTLIVE_JWT_JWKS_URL.")
    if not any(
        (settings.oidc_issuer, settings.jwt_jwks_url, settings.jwt_secret, settings.jwt_public_key)
    ):
        yield from _ways_in(settings)


def _provider(issuer: str) -> Iterator[Finding]:
    """OpenID Connect Discovery 1.0, 4."""
    mend = (
        "OUTLIVE_OIDC_ISSUER must be the `issuer` in the provider's"
        " /.well-known/openid-configuration, character by character (docs/accounts.md)."
    )
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    found, why = _document(url)
    if why:
        yield Finding("identity-provider", f"{url} {why}.", mend)
    elif found.get("issuer") != issuer:
        yield Finding("identity-provider", f"{url} has another `issuer`.", mend)
    else:
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not is_trusted(str(found.get(name, ""))):
                yield Finding(
                    "identity-provider",
                    f"{url} has no `{name}` with https.",
                    "Have the provider serve it with https.",
                )
                return
        yield from _keys(found["jwks_uri"], "Ask who runs the identity provider.")


def _keys(url: str, mend: str) -> Iterator[Finding]:
    found, why = _document(url)
    if not why and not isinstance(found.get("keys"), list):
        why = "has no `keys`"
    if why:
        yield Finding("keys", f"{url} {why}: no token can be checked.", mend)


def _document(url: str) -> tuple[dict[str, Any], str | None]:
    """A JSON object at a URL, and why there is none."""
    try:
        status, content = fetch(tls.client_context(), "GET", url)
        found = json.loads(content) if status == 200 else None
    except httpx2.HTTPError as error:
        return {}, f"cannot be reached: {type(error).__name__}"
    except (httpx2.InvalidURL, ValueError, RecursionError):
        return {}, "answers with something else than JSON"
    if status != 200:
        return {}, f"answers with status {status}"
    return (found, None) if isinstance(found, dict) else ({}, "has no JSON object")


def _ways_in(settings: Settings) -> Iterator[Finding]:
    db = Database(settings.database_url)
    try:
        if db.has_schema() and inspection.role_rights(db).rows and not inspection.has_way_in(db):
            yield Finding(
                "sign-in",
                "Nobody can sign in: there is no account and no service key, and no setting says"
                " who else vouches for people.",
                "Make an account with `outlive user add`, or see docs/sign-in.md.",
            )
    except StorageDown:
        return  # a finding of its own
    finally:
        db.dispose()
