"""Reads the counts of a usage that a provider reported. Pure."""

from typing import Any


def count_of(usage: Any, *names: str) -> int | None:
    """The first of these counts that there is; a provider may give anything in its place."""
    found = usage if isinstance(usage, dict) else {}
    return next((found[name] for name in names if isinstance(found.get(name), int)), None)
