"""`outlive bench [NAME ...]`: run benchmarks, by default all."""

import importlib
import sys

NAMES = ("reading", "saving", "following", "page")


def main() -> None:
    """Run each and print what it measured."""
    wanted = sys.argv[1:] or NAMES
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        sys.exit(f"There is no benchmark {', '.join(unknown)}; there are: {', '.join(NAMES)}.")
    for name in wanted:
        module = importlib.import_module(f"bench.{name}")
        print(f"\n{name}: {module.__doc__}", flush=True)
        module.main()


if __name__ == "__main__":
    main()
