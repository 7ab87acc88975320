"""`outlive COMMAND`. A command's module is imported when it is called, so that each starts fast."""

import os
import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from cli.exit_status import EPILOG, Exit
from local import env_files

#: Commands in the order of `--help`, and where each is defined.
COMMANDS = {
    "ask": "cli.answer_commands:ask",
    "follow": "cli.answer_commands:follow",
    "stop": "cli.answer_commands:stop",
    "retry": "cli.answer_commands:retry",
    "continue": "cli.answer_commands:continue_",
    "list": "cli.list_command:list_",
    "export-all": "cli.export_all_command:export_all",
    "user": "cli.user_commands:user",
    "key": "cli.key_commands:key",
    "audit": "cli.audit_command:audit",
    "budget": "cli.budget_command:budget",
    "push-key": "cli.push_key_command:push_key",
    "migrate": "cli.admin_commands:migrate",
    "sweep": "cli.admin_commands:sweep",
    "doctor": "cli.doctor_command:doctor",
    "export": "cli.export_commands:export",
}
#: Commands of the package `local`, which parses their arguments itself.
LOCAL = {
    "up": "Run everything on this machine, until Ctrl-C.",
    "test": "Run all tests, on real servers.",
    "check": "Run linter, types and import rules.",
    "drill": "Break everything while answers are written, and check every character.",
    "bench": "Measure, side by side with other servers.",
}


class Commands(click.Group):
    """A group that imports its commands on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All commands, `up` first."""
        return ["up", *COMMANDS, *(name for name in LOCAL if name != "up")]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """The command of that name."""
        if cmd_name in LOCAL:
            return _local_command(cmd_name)
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


def _local_command(name: str) -> click.Command:
    """A command that runs `local` with all arguments, `--help` included."""

    def run_local(arguments: tuple[str, ...]) -> None:
        sys.argv = ["outlive", name, *arguments]
        runpy.run_module("local", run_name="__main__")

    return click.Command(
        name,
        callback=run_local,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=LOCAL[name],
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )


@click.group(cls=Commands, epilog=EPILOG)
@click.option(
    "--env",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Use the settings of the deployment in DIR, as systemd does.",
)
@click.pass_context
def outlive(context: click.Context, folder: Path | None) -> None:
    """Ask a model; the answer is written to its end, whether you stay or not."""
    context.obj = folder
    if folder is not None and context.invoked_subcommand is not None:
        line = "release" if context.invoked_subcommand == "migrate" else "web"
        os.environ.update(env_files.load(folder, line))


def main() -> NoReturn:
    """Run a command; what it returns is the exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    try:
        status = outlive.main(prog_name="outlive", standalone_mode=False)
    except click.Abort:  # Ctrl-C
        status = Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except env_files.Unreadable as error:
        click.echo(f"Error: {error}", err=True)
        status = Exit.USAGE
    except BrokenPipeError:
        # The reader of our output is closed; Python's flush at exit must not fail, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = Exit.ERROR
    sys.exit(status)


if __name__ == "__main__":
    main()
