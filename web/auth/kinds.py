"""Which kinds of credentials a deployment accepts, in the order in which they are tried."""

from collections.abc import Sequence

from shared.settings import Settings
from web.auth.credential_kind import CredentialKind
from web.auth.local import Local


def credential_kinds(settings: Settings) -> Sequence[CredentialKind]:
    """The kinds that OUTLIVE_AUTH and its settings name."""
    if settings.auth == "local":
        return [Local(settings)]
    return []
