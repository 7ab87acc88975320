"""`outlive COMMAND`. A command's module is loaded when it is called, so that each begins fast."""

import os
import runpy
import sys
from importlib import import_module
from typing import NoReturn

import click

from cli.exits import EPILOG, Exit

#: Commands by name, in the order of `--help`, and where they are.
COMMANDS = {
    "ask": "cli.asking:ask",
    "follow": "cli.asking:follow",
    "stop": "cli.looking:stop",
    "retry": "cli.asking:retry",
    "continue": "cli.asking:go_on",
    "list": "cli.looking:list_",
    "migrate": "cli.operating:migrate",
    "sweep": "cli.operating:sweep",
}
#: Those of the package `local`, which takes their arguments itself.
LOCAL = {
    "up": "Run everything on this machine, until Ctrl-C.",
    "test": "Run all tests, on real servers.",
    "check": "Run linter, types and import rules.",
}


class Commands(click.Group):
    """A group that finds its commands by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Ours and those of `local`."""
        return ["up", *COMMANDS, *(name for name in LOCAL if name != "up")]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """The command of that name."""
        if cmd_name in LOCAL:
            return _local(cmd_name)
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


def _local(name: str) -> click.Command:
    """A command that becomes `local`'s, `--help` and all."""

    def become(arguments: tuple[str, ...]) -> None:
        sys.argv = ["outlive", name, *arguments]
        runpy.run_module("local", run_name="__main__")

    return click.Command(
        name,
        callback=become,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=LOCAL[name],
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )


@click.group(cls=Commands, epilog=EPILOG)
def outlive() -> None:
    """Ask a model, and have the answer written whatever becomes of you meanwhile."""


def main() -> NoReturn:
    """Run a command; its own number is the exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    try:
        status = outlive.main(prog_name="outlive", standalone_mode=False)
    except click.Abort:  # Ctrl-C
        status = Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except BrokenPipeError:
        # Whoever read us has gone; Python must not trip over that once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = Exit.ERROR
    sys.exit(status)


if __name__ == "__main__":
    main()
