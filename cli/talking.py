"""What every command that talks to the service shares: its address, its failures, its options."""

import json
import sys
import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import click
import httpx2

from cli import addresses
from cli.api_client import Api, ApiError, Json, Refused, Unreachable
from cli.exits import BY_STATUS, Exit, Failure, NoServer
from cli.following import Following
from cli.screen import Screen, visible
from shared.lifecycle import Status

P = ParamSpec("P")

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document at the end.")
model = click.option("--model", help="Ask this model.")
no_reasoning = click.option(
    "--no-reasoning", is_flag=True, help="Leave out what the model thinks first."
)


def talks(command: Callable[Concatenate[Api, P], int]) -> Callable[..., int]:
    """Give a command the service to talk to, and its failures an exit status."""

    @click.option("--url", envvar="OUTLIVE_URL", callback=_url, help="Where Outlive is.")
    @wraps(command)
    def talking(url: str, *args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(Api(url), *args, **kwargs)
        except Unreachable as error:
            advice = " Start it with `outlive up`, or say where it is: --url or OUTLIVE_URL."
            raise NoServer(f"{error}{'' if error.passing else advice}") from error
        except ApiError as error:
            raise Failure(str(error)) from error

    return talking


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
    """`name=value` pairs; a value that is JSON is what it says, any other is a text."""
    found: Json = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not (name and separator):
            raise click.BadParameter(f"{value!r} is not name=value.")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError:
        return text


def _no_number(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON, whatever Python thinks


option = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=options,
    help="Pass it on to the model, like temperature=0.2. As often as you like.",
)


def again(model: str | None, options: Json) -> Json:
    """How to answer, as the service wants it."""
    return {**({"model": model} if model else {}), "options": options}


def write_json(document: Json) -> None:
    """The one document on standard output."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    click.echo(visible(text) if sys.stdout.isatty() else text)


def watch(api: Api, message_id: uuid.UUID, *, as_json: bool, no_reasoning: bool) -> int:
    """Show an answer until it ends; the command's exit status."""
    screen = Screen(sys.stdout, sys.stderr, silent=as_json, reasoning=not no_reasoning)
    following = Following(api, message_id)
    try:
        screen.wait_for(lambda: _phase(api, message_id))
        for delta in following.deltas(lambda: screen.wait_for("reconnecting")):
            screen.show(delta)
    except KeyboardInterrupt:
        screen.close()
        screen.note(f"The answer goes on without you. Come back: outlive follow {message_id}")
        screen.note(f"End it: outlive stop {message_id}")
        raise SystemExit(Exit.INTERRUPTED) from None
    finally:
        screen.close()
    return _ended(api, following, screen, as_json=as_json)


def _phase(api: Api, message_id: uuid.UUID) -> str:
    """What is being waited for before the first character."""
    try:
        status = api.message(message_id)["status"]
    except ApiError:
        return "reconnecting"
    return "waiting for a worker" if status == Status.SENDING else "thinking"


def _ended(api: Api, following: Following, screen: Screen, *, as_json: bool) -> int:
    end = following.end or {}
    status = BY_STATUS[Status(end["status"])]
    if not following.proven:
        status = Exit.UNPROVEN
        _read_again(api, following.message_id, screen, as_json=as_json)
    if as_json:
        write_json(api.message(following.message_id))
    _tell(screen, end, following.message_id)
    return status


def _read_again(api: Api, message_id: uuid.UUID, screen: Screen, *, as_json: bool) -> None:
    screen.note("What arrived does not match the answer's length and sha256.")
    try:
        text = api.message(message_id)["text"]
    except Refused as error:
        screen.note(str(error))
        return
    if not as_json:
        screen.note("This is the answer as it is stored:")
        screen.rewrite(text)


def _tell(screen: Screen, end: Json, message_id: uuid.UUID) -> None:
    """How it ended, unless it simply did, and what can be done then."""
    if end["error"]:
        screen.note(visible(f"{end['error']['message']} ({end['error']['code']})"))
    elif end["status"] == Status.CANCELLED:
        screen.note("Stopped; what was written is kept.")
    elif end["finish_reason"] == "length":
        screen.note("The answer reached its greatest length.")
    else:
        return
    screen.hint(f"Go on: outlive continue {message_id}\nAgain: outlive retry {message_id}")
