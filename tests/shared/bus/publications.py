"""What tests publish: text of one claim."""

import uuid
from typing import Any, Final

from shared.body import Delta
from shared.bus.publishing import Publication
from tests.store_fixtures import Store

CLAIM: Final = uuid.uuid4()


def publication(
    message_id: uuid.UUID, start: int, text: str, attempt: int = 1, **more: Any
) -> Publication:
    """A publication of one delta."""
    more.setdefault("trim", 0)
    return Publication(message_id, CLAIM, attempt, [Delta(start, 0, "text", text)], **more)


def log_ids(store: Store, message_id: uuid.UUID) -> list[str]:
    """The ids of the entries in the claim's log."""
    return [entry for entry, _ in store.redis.xrange(f"outlive:log:{message_id}:{CLAIM}")]
