"""The usage that a provider reports, reduced to counts that can be stored. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from shared.text import normalise

#: Counts of a usage object that are kept, and characters of a count's name.
COUNTS_MAX: Final = 64
NAME_MAX: Final = 100


def usage_of(usage: dict[str, Any]) -> dict[str, Any]:
    """The whole numbers of a usage object, with those of nested objects one level deep."""
    details = {key: _counts(value) for key, value in _named(usage) if isinstance(value, dict)}
    return {**_counts(usage), **details, "source": "reported"}


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _named(usage) if _is_count(value)}


def _named(usage: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The first COUNTS_MAX items, with names that can be stored."""
    for key, value in list(usage.items())[:COUNTS_MAX]:
        yield normalise(key[:NAME_MAX]), value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
