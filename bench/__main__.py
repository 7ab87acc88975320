"""`outlive bench [NAME ...]`: run benchmarks, by default all; see `outlive bench road -h` too."""

import importlib
import sys

from bench.road import compare

NAMES = ("reading", "saving", "following", "asking", "page", "road", "promises", "turns")


def main() -> None:
    """Run each and print what it measured."""
    if sys.argv[1:2] == ["road"]:  # it has arguments of its own
        sys.exit(compare(sys.argv[2:]))
    wanted = sys.argv[1:] or NAMES
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        sys.exit(f"There is no benchmark {', '.join(unknown)}; there are: {', '.join(NAMES)}.")
    failed = False
    for name in wanted:
        module = importlib.import_module(f"bench.{name}")
        print(f"\n{name}: {module.__doc__}", flush=True)
        failed = bool(module.main()) or failed
    sys.exit(failed)


if __name__ == "__main__":
    main()
