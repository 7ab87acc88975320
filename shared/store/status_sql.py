"""The statuses of `shared/lifecycle.py` in SQL: no statement spells a status by itself."""

from collections.abc import Collection
from typing import Final

from shared.lifecycle import OPEN, Status, sources


def listed(statuses: Collection[Status]) -> str:
    """SQL: a list for IN."""
    return "(" + ", ".join(f"'{one}'" for one in Status if one in statuses) + ")"


#: Statuses of a message that has not ended.
OPEN_STATUSES: Final = listed(OPEN)


def before(after: Status) -> str:
    """SQL: the statuses from which a message may move to `after`, for IN."""
    return listed(sources(after))
