"""A principal: who makes a request, by which credential, and what they may do."""

import uuid
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, cast

from flask import g


class Right(Enum):
    """What a principal may do."""

    #: Nothing is asked, neither a credential nor one of our names: for a load balancer's probes.
    PUBLIC = "public"
    #: No credential is asked for, only the place and the site: for what a person needs to sign in.
    OPEN = "open"
    #: See what belongs to no user: the pages and their files, the models.
    USE = "use"
    #: Read a conversation that one may read: one's own, or one that others share.
    READ_SHARED = "read shared"
    #: Read one's own conversations.
    READ_OWN = "read own"
    #: Change one's own conversations, and ask in them.
    WRITE_OWN = "write own"
    #: See the metrics, and administer the service.
    OPERATE = "operate"
    #: See what runs, for all users: the dashboard, unless OUTLIVE_LIVE is off.
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request proved who it is with."""

    kind: Literal["local", "jwt", "key", "session", "share"]
    #: the row's id of a key, a session or a share; a token's own `jti`, if it has one
    id: str = ""


LOCAL: Final = Credential("local")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request: a user, what they may do, and the credential that says so."""

    #: who reads by a link is no user: it is the link's id, which owns nothing
    user_id: uuid.UUID
    rights: frozenset[Right]
    credential: Credential = LOCAL
    #: when the credential expires, in Unix seconds; None: never by itself
    expires_at: float | None = None
    #: when Postgres was last asked whether it is good (monotonic, before the statement)
    checked_at: float = field(default=0.0, compare=False)
    #: what a service key says of answers whose readers leave (shared/disconnects.py)
    on_disconnect: str | None = None

    @property
    def key_id(self) -> uuid.UUID | None:
        """The service key that was used, if it was one."""
        return uuid.UUID(self.credential.id) if self.credential.kind == "key" else None


def principal() -> Principal:
    """Who makes this request. A PUBLIC endpoint has no principal."""
    return cast("Principal", g.principal)


def current_user() -> uuid.UUID:
    """The user who makes this request."""
    return principal().user_id
