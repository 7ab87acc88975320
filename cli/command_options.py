"""What the commands share: the service they call, their options, their JSON output."""

import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import click
import httpx2

from cli import addresses
from cli.api_client import Api, ApiError, Json, ServiceUnreachable
from cli.exit_status import Failure, ServerUnreachable
from cli.screen import visible

P = ParamSpec("P")

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
model = click.option("--model", help="Ask this model.")
no_reasoning = click.option("--no-reasoning", is_flag=True, help="Leave out the model's reasoning.")


def with_api(command: Callable[Concatenate[Api, P], int]) -> Callable[..., int]:
    """Give a command the option --url and the client; turn the client's errors into exit codes."""

    @click.option("--url", envvar="OUTLIVE_URL", callback=_url, help="The service's address.")
    @wraps(command)
    def wrapped(url: str, *args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(Api(url), *args, **kwargs)
        except ServiceUnreachable as error:
            advice = " Start it with `outlive up`, or give its address: --url or OUTLIVE_URL."
            raise ServerUnreachable(f"{error}{'' if error.temporary else advice}") from error
        except ApiError as error:
            raise Failure(str(error)) from error

    return wrapped


def _url(_context: click.Context, _option: click.Parameter, value: str | None) -> str:
    url = (value or addresses.web()).rstrip("/")
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise click.BadParameter(str(error)) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise click.BadParameter(f"{url!r} does not begin with http:// or https://.")
    return url


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


def generation_fields(model: str | None, options: Json) -> Json:
    """The request's fields that say how to answer."""
    return {**({"model": model} if model else {}), "options": options}


def write_json(document: Json) -> None:
    """Print one JSON document; on a terminal its control characters are made visible."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    click.echo(visible(text) if sys.stdout.isatty() else text)
