"""The commands about one answer: `ask`, `retry`, `continue`, `follow`, `stop`."""

import sys
import uuid

import click

from cli.api_client import Api, Json
from cli.command_options import (
    as_json,
    generation_fields,
    model,
    no_reasoning,
    option,
    with_api,
    write_json,
)
from cli.exit_status import Exit
from cli.show_answer import show_answer
from shared.lifecycle import OPEN, Status
from shared.text import normalise


@click.command()
@click.argument("question", required=False)
@click.option("--conversation", type=click.UUID, metavar="ID", help="Continue this conversation.")
@click.option("--system", help="The system prompt of a new conversation.")
@model
@option
@as_json
@no_reasoning
@with_api
def ask(
    api: Api,
    *,
    question: str | None,
    conversation: uuid.UUID | None,
    system: str | None,
    model: str | None,
    options: Json,
    as_json: bool,
    no_reasoning: bool,
) -> int:
    """Ask, and show the answer while it is written.

    QUESTION may come through a pipe instead (or be "-"). Ctrl-C only stops showing: the answer
    is still written. A pipe or a file gets the answer's text alone, without the reasoning.
    """
    content = _question(question)
    if conversation and system is not None:
        raise click.UsageError("--system is for a new conversation; this one exists already.")
    target = conversation or api.new_conversation(normalise(system) if system else None)
    answer = api.ask(target, content, generation_fields(model, options))
    status = show_answer(api, uuid.UUID(answer["id"]), as_json=as_json, no_reasoning=no_reasoning)
    if not (conversation or as_json) and sys.stderr.isatty():
        click.secho(f"Ask on: outlive ask --conversation {target}", err=True, dim=True)
    return status


def _question(argument: str | None) -> str:
    """The question from the command line or from the pipe, without the newline of `echo`."""
    if argument is None and sys.stdin.isatty():
        raise click.UsageError("There is no question. Give it in quotes, or through a pipe.")
    if argument in (None, "-"):
        argument = sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\n")
    if not argument:
        raise click.UsageError("The question is empty.")
    return normalise(argument)


@click.command()
@click.argument("message_id", metavar="ID", type=click.UUID)
@model
@option
@as_json
@no_reasoning
@with_api
def retry(
    api: Api,
    *,
    message_id: uuid.UUID,
    model: str | None,
    options: Json,
    as_json: bool,
    no_reasoning: bool,
) -> int:
    """Have the same question answered again. The old answer stays."""
    answer = api.retry(message_id, generation_fields(model, options))
    return show_answer(api, uuid.UUID(answer["id"]), as_json=as_json, no_reasoning=no_reasoning)


@click.command("continue")
@click.argument("message_id", metavar="ID", type=click.UUID)
@model
@option
@as_json
@no_reasoning
@with_api
def continue_(
    api: Api,
    *,
    message_id: uuid.UUID,
    model: str | None,
    options: Json,
    as_json: bool,
    no_reasoning: bool,
) -> int:
    """Continue an answer that ended too early."""
    answer = api.continue_(message_id, generation_fields(model, options))
    return show_answer(api, uuid.UUID(answer["id"]), as_json=as_json, no_reasoning=no_reasoning)


@click.command()
@click.argument("message_id", metavar="ID", type=click.UUID)
@as_json
@no_reasoning
@with_api
def follow(api: Api, *, message_id: uuid.UUID, as_json: bool, no_reasoning: bool) -> int:
    """Show an answer from its beginning until it ends."""
    return show_answer(api, message_id, as_json=as_json, no_reasoning=no_reasoning)


@click.command()
@click.argument("message_id", metavar="ID", type=click.UUID)
@as_json
@with_api
def stop(api: Api, message_id: uuid.UUID, *, as_json: bool) -> int:
    """Stop an answer. What was written is kept."""
    message = api.stop(message_id)
    if as_json:
        write_json(message)
    elif message["status"] in OPEN:
        click.echo("It will stop in a moment; what was written is kept.")
    elif message["status"] == Status.CANCELLED:
        click.echo("Stopped; what was written is kept.")
    else:
        click.echo(f"It has already ended: {message['status']}.")
    return Exit.DONE
