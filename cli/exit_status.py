"""How a command ends: its exit status, and an error's message on standard error."""

from enum import IntEnum

import click

from shared.lifecycle import Status


class Exit(IntEnum):
    """The exit statuses of every command."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    CANCELLED = 3
    UNREACHABLE = 4
    UNPROVEN = 5
    INTERRUPTED = 130


#: Shown at the end of `outlive --help`.
EPILOG = (
    "Exit status: 0 done, 1 the answer failed or the request was refused, 2 usage, 3 stopped,"
    " 4 a server cannot be reached, 5 what arrived does not match the answer's length and sha256,"
    " 130 interrupted. Where sign-in is required, OUTLIVE_TOKEN is a service key or a user's token."
)

BY_STATUS = {
    Status.DONE: Exit.DONE,
    Status.ERROR: Exit.ERROR,
    Status.CANCELLED: Exit.CANCELLED,
}


class Failure(click.ClickException):
    """Ends the command with a message on standard error."""

    exit_code = Exit.ERROR


class ServerUnreachable(Failure):
    """A server that the command needs does not answer."""

    exit_code = Exit.UNREACHABLE
