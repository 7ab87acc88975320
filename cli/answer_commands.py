"""The commands about one answer: `ask`, `retry`, `continue`, `follow`, `stop`."""

import sys
import uuid

import click

from cli.command_options import (
    Json,
    as_json,
    model,
    no_reasoning,
    option,
    with_service,
    write_json,
)
from cli.exit_status import Exit
from cli.show_answer import show_answer
from outlive_client import Outlive
from shared.lifecycle import OPEN, Status


@click.command()
@click.argument("question", required=False)
@click.option("--conversation", type=click.UUID, metavar="ID", help="Continue this conversation.")
@click.option("--system", help="The system prompt of a new conversation.")
@model
@option
@as_json
@no_reasoning
@with_service
def ask(
    service: Outlive,
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
    place = str(conversation) if conversation else service.create_conversation(system=system).id
    answer = service.ask(content, conversation=place, model=model, options=options)
    status = show_answer(service, answer, as_json=as_json, no_reasoning=no_reasoning)
    if not (conversation or as_json) and sys.stderr.isatty():
        click.secho(f"Ask on: outlive ask --conversation {place}", err=True, dim=True)
    return status


def _question(argument: str | None) -> str:
    """The question from the command line or from the pipe, without the newline of `echo`."""
    if argument is None and sys.stdin.isatty():
        raise click.UsageError("There is no question. Give it in quotes, or through a pipe.")
    if argument in (None, "-"):
        argument = sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\n")
    if not argument:
        raise click.UsageError("The question is empty.")
    return argument


@click.command()
@click.argument("message_id", metavar="ID", type=click.UUID)
@model
@option
@as_json
@no_reasoning
@with_service
def retry(
    service: Outlive,
    *,
    message_id: uuid.UUID,
    model: str | None,
    options: Json,
    as_json: bool,
    no_reasoning: bool,
) -> int:
    """Have the same question answered again. The old answer stays."""
    answer = service.retry(str(message_id), model=model, options=options)
    return show_answer(service, answer, as_json=as_json, no_reasoning=no_reasoning)


@click.command("continue")
@click.argument("message_id", metavar="ID", type=click.UUID)
@model
@option
@as_json
@no_reasoning
@with_service
def continue_(
    service: Outlive,
    *,
    message_id: uuid.UUID,
    model: str | None,
    options: Json,
    as_json: bool,
    no_reasoning: bool,
) -> int:
    """Continue an answer that ended too early."""
    answer = service.continue_(str(message_id), model=model, options=options)
    return show_answer(service, answer, as_json=as_json, no_reasoning=no_reasoning)


@click.command()
@click.argument("message_id", metavar="ID", type=click.UUID)
@as_json
@no_reasoning
@with_service
def follow(service: Outlive, *, message_id: uuid.UUID, as_json: bool, no_reasoning: bool) -> int:
    """Show an answer from its beginning until it ends."""
    answer = service.follow(str(message_id))
    return show_answer(service, answer, as_json=as_json, no_reasoning=no_reasoning)


@click.command()
@click.argument("message_id", metavar="ID", type=click.UUID)
@as_json
@with_service
def stop(service: Outlive, message_id: uuid.UUID, *, as_json: bool) -> int:
    """Stop an answer. What was written is kept."""
    message = service.stop(str(message_id))
    if as_json:
        write_json(message.raw)
    elif message.status in OPEN:
        click.echo("It will stop in a moment; what was written is kept.")
    elif message.status == Status.CANCELLED:
        click.echo("Stopped; what was written is kept.")
    else:
        click.echo(f"It has already ended: {message.status}.")
    return Exit.DONE
