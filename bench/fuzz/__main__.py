"""`python -m bench.fuzz NAME [options]`: run the fuzzer of that name; `-h` says what it takes."""

import importlib
import sys

NAMES = ("render", "provider")


def main() -> None:
    """Run one, with its own arguments; exits with its status."""
    if sys.argv[1:2] and sys.argv[1] in NAMES:
        sys.exit(importlib.import_module(f"bench.fuzz.{sys.argv[1]}").main(sys.argv[2:]))
    sys.exit(f"usage: python -m bench.fuzz {{{','.join(NAMES)}}} [options]")


if __name__ == "__main__":
    main()
