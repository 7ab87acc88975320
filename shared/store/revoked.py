"""Which of the credentials that hold streams open are not good any more."""

import uuid
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final, NamedTuple

from shared.store.access import GOOD
from shared.store.database import Database

#: Credentials that one statement asks about.
BATCH: Final = 5_000


class Held(NamedTuple):
    """A user, and the credential by which a stream of theirs was opened."""

    user_id: uuid.UUID
    #: "key", "session" and "share" have rows; of any other kind only the user is checked
    kind: str
    #: the row's id
    id: str


#: A key is as good as the user whom it belongs to, also when it acts for another; a share as good
#: as its owner. Who reads by a link is no user.
_REVOKED: Final = f"""
SELECT held.user_id, held.kind, held.id
FROM (
    SELECT CAST(user_id AS uuid) AS user_id, kind, id
    FROM unnest(CAST(:users AS text[]), CAST(:kinds AS text[]), CAST(:ids AS text[]))
        AS given (user_id, kind, id)
) AS held
WHERE held.kind <> 'share'
        AND NOT EXISTS (SELECT FROM users u WHERE u.id = held.user_id AND u.disabled_at IS NULL)
    OR held.kind = 'share' AND NOT EXISTS (
        SELECT FROM shares s JOIN users o ON o.id = s.user_id
        WHERE s.id = held.user_id AND {GOOD}
    )
    OR held.kind = 'key' AND NOT EXISTS (
        SELECT FROM service_keys k JOIN users u ON u.id = k.user_id AND u.disabled_at IS NULL
        WHERE k.id = CAST(CASE held.kind WHEN 'key' THEN held.id END AS uuid)
            AND k.revoked_at IS NULL
            AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
    )
    OR held.kind = 'session' AND NOT EXISTS (
        SELECT FROM sessions s
        WHERE s.id = CAST(CASE held.kind WHEN 'session' THEN held.id END AS uuid)
            AND s.user_id = held.user_id AND s.expires_at > clock_timestamp()
    )
"""


def revoked(db: Database, held: Collection[Held]) -> Iterator[Held]:
    """Those of `held` that are not good any more: revoked, expired, disabled or deleted.

    Raises StorageDown.
    """
    rest = iter(held)
    while batch := list(islice(rest, BATCH)):
        rows = db.planned(
            _REVOKED,
            users=[str(one.user_id) for one in batch],
            kinds=[one.kind for one in batch],
            ids=[one.id for one in batch],
        )
        yield from (Held(row.user_id, row.kind, row.id) for row in rows)
