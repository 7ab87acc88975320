"""What the commands share: the service they call, their options, their JSON output."""

import json
import math
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import click

from cli import addresses
from cli.exit_status import Failure, ServerUnreachable
from cli.screen import visible
from outlive_client import Outlive, OutliveError, Unauthorized, Unreachable

P = ParamSpec("P")
Json = dict[str, Any]

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
model = click.option("--model", help="Ask this model.")
no_reasoning = click.option("--no-reasoning", is_flag=True, help="Leave out the model's reasoning.")


def with_service(command: Callable[Concatenate[Outlive, P], int]) -> Callable[..., int]:
    """Give a command the option --url and the client; turn the client's errors into exit codes.

    The credential comes from the environment only: arguments are seen in the list of processes.
    """

    @click.option("--url", envvar="OUTLIVE_URL", help="The service's address (or OUTLIVE_URL).")
    @wraps(command)
    def wrapped(url: str | None, *args: P.args, **kwargs: P.kwargs) -> int:
        try:
            client = Outlive(
                url or addresses.web(),
                token=os.environ.get("OUTLIVE_TOKEN") or None,
                stream_patience=math.inf,  # Ctrl-C is at hand
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        try:
            with client as service:
                return command(service, *args, **kwargs)
        except Unreachable as error:
            advice = " Start it with `outlive up`, or give its address: --url or OUTLIVE_URL."
            raise ServerUnreachable(f"{error}{'' if error.temporary else advice}") from error
        except OutliveError as error:
            raise Failure(visible(_sentence(error))) from error

    return wrapped


def _sentence(error: OutliveError) -> str:
    """What went wrong, and what to do here: the service's own sentence is about headers."""
    if not isinstance(error, Unauthorized):
        return str(error)
    what = "This service asks who you are." if error.code == "unauthenticated" else str(error)
    return f"{what} Set OUTLIVE_TOKEN to a service key (`outlive key add`) or to a user's token."


def options(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> Json:
    """Parse `name=value` pairs. A value that is JSON is that value, any other is a string."""
    found: Json = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not (name and separator):
            raise click.BadParameter(f"{value!r} is not name=value.")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except ValueError:
        return text


def _reject_constant(name: str) -> None:
    raise ValueError(name)  # Python accepts NaN and Infinity, JSON has neither


option = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=options,
    help="Pass an option to the model, like temperature=0.2. May be repeated.",
)


def write_json(document: Json) -> None:
    """Print one JSON document; on a terminal its control characters are made visible."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    click.echo(visible(text) if sys.stdout.isatty() else text)
