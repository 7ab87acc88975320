"""Lists in pages: `?limit=` and `?cursor=` of a request, and the cursor of the page that follows.

A cursor is the place of the last item that was shown: a sequence number, or the microseconds of a
moment. So a page begins after what its reader has seen, whatever was added meanwhile. Lists show
the item with the greatest place first.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from flask import request

from shared.errors import Invalid

Item = TypeVar("Item")
#: (limit, before) -> up to `limit` items whose place is below `before`, and whether there are more.
Fetch = Callable[[int, int | None], tuple[Sequence[Item], bool]]

#: Every place is below this: microseconds beyond it are no date that Python or Postgres holds.
MAX_PLACE = 1 << 57


def page(
    fetch: Fetch[Item], place: Callable[[Item], int], *, default: int, most: int
) -> tuple[Sequence[Item], str | None]:
    """The items of the page that the request asks for, and the next page's cursor, if there is one.

    `default` and `most` are numbers of items. Raises Invalid.
    """
    items, more = fetch(limit(default, most), _cursor())
    return items, encode_cursor(place(items[-1])) if more else None


def fetching_one_more(fetch: Callable[[int, int | None], Sequence[Item]]) -> Fetch[Item]:
    """A Fetch of a function that returns items only: it is asked for one more than is shown."""

    def fetch_one_more(limit: int, before: int | None) -> tuple[Sequence[Item], bool]:
        found = fetch(limit + 1, before)
        return found[:limit], len(found) > limit

    return fetch_one_more


def limit(default: int, most: int) -> int:
    """`?limit=`, from 1 to `most`. Raises Invalid."""
    value = request.args.get("limit")
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most):
        raise Invalid(f"limit must be a whole number from 1 to {most}.", "invalid_limit")
    return int(value)


def _cursor() -> int | None:
    value = request.args.get("cursor")
    return decode_cursor(value) if value else None


def encode_cursor(place: int) -> str:
    """An opaque name for a place, which can stand in a URL."""
    return base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """The place that a cursor names. Raises Invalid."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        place = int(base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii"))
    except (binascii.Error, ValueError):
        place = -1
    if not 0 <= place < MAX_PLACE:
        raise Invalid(
            "cursor must be the `next` of an earlier page. Leave it out for the first page.",
            "invalid_cursor",
        )
    return place
