"""`./outlive COMMAND`: those that need this machine are here, all others are `cli`'s."""

import runpy
import sys
from typing import NoReturn

#: Commands and their modules. The benchmarks start the service too, from outside.
HERE = {
    "up": "local.up",
    "test": "local.test",
    "check": "local.check",
    "drill": "drill",
    "bench": "bench",
}


def main() -> NoReturn:
    """Run the command; each module takes its own arguments from `sys.argv`."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in HERE:
        sys.argv[:2] = [f"outlive {command}"]
    else:
        sys.argv[0] = "outlive"
    # By name: `local` only starts the others, it never imports them.
    runpy.run_module(HERE.get(command, "cli"), run_name="__main__")
    sys.exit(0)


if __name__ == "__main__":
    main()
