"""The audit table: who did what and when, without content.

Rows name users, credentials and things by their ids; no text of a person is in them, nor what
somebody typed as a login that does not exist.
"""

import uuid
from enum import StrEnum

from sqlalchemy import Connection

from shared.store.database import Database, run


class Action(StrEnum):
    """What is noted."""

    SIGN_IN = "sign_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGN_OUT = "sign_out"
    SIGN_OUT_EVERYWHERE = "sign_out_everywhere"
    USER_ADDED = "user_added"
    USER_DISABLED = "user_disabled"
    USER_ENABLED = "user_enabled"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - it is none
    OPERATOR_CHANGED = "operator_changed"


_RECORD = (
    "INSERT INTO audit (action, user_id, credential, object_id, address)"
    " VALUES (:action, CAST(:user AS uuid), :credential, :object, :address)"
)


def record(
    where: Connection | Database,
    action: Action | str,
    *,
    user_id: uuid.UUID | None = None,
    credential: str | None = None,
    object_id: object = None,
    address: str | None = None,
) -> None:
    """Add a row: in a connection's transaction, or alone. Raises StorageDown.

    `user_id`: who did it, or whom it is about where nobody was signed in. `credential`: a kind
    ("session", "key", "password", "oidc", "command") and perhaps its id, with a blank between.
    `object_id`: what it was done to. `address`: where the request came from.
    """
    row = {
        "action": str(action),
        "user": None if user_id is None else str(user_id),
        "credential": credential,
        "object": None if object_id is None else str(object_id),
        "address": address or None,
    }
    if isinstance(where, Database):
        with where.alone() as connection:
            run(connection, _RECORD, **row)
    else:
        run(where, _RECORD, **row)
