"""The path of a token in Outlive, compared with other ways to stream, on the same processors."""

import sys
from collections.abc import Sequence


def compare(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for; the exit status is 1 when a reader got something wrong."""
    # Provider and load client are modules of this package, and need none of this.
    from bench.road import comparison  # noqa: PLC0415

    return comparison.run(arguments)


def main() -> None:
    """Everything."""
    if compare(()):
        sys.exit(1)
