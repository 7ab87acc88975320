"""`./outlive COMMAND`: runs the command's module; what is not listed here belongs to `cli`."""

import runpy
import sys
from typing import NoReturn

#: Commands that start processes on this machine, and their modules.
LOCAL_COMMANDS = {
    "up": "local.up",
    "test": "local.test",
    "check": "local.check",
    "drill": "drill",
    "bench": "bench",
}


def main() -> NoReturn:
    """Run the command; each module reads its arguments from `sys.argv`."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in LOCAL_COMMANDS:
        sys.argv[:2] = [f"outlive {command}"]
    else:
        sys.argv[0] = "outlive"
    # By name, because `local` must not import the rooms above it.
    runpy.run_module(LOCAL_COMMANDS.get(command, "cli"), run_name="__main__")
    sys.exit(0)


if __name__ == "__main__":
    main()
