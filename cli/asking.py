"""`ask`, `retry`, `continue`, `follow`: an answer is written, and shown while it is."""

import sys
import uuid

import click

from cli.api_client import Api, Json
from cli.talking import again, as_json, model, no_reasoning, option, talks, watch
from shared.text import normalise


@click.command()
@click.argument("question", required=False)
@click.option("--conversation", type=click.UUID, metavar="ID", help="Ask on in this one.")
@click.option("--system", help="What the model is told before all else (new conversation).")
@model
@option
@as_json
@no_reasoning
@talks
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

    QUESTION may come through a pipe instead (or be "-"). Ctrl-C only leaves: the answer goes
    on. Into a pipe or a file goes the text alone, without what the model thinks.
    """
    content = _question(question)
    if conversation and system is not None:
        raise click.UsageError("--system is for a new conversation; this one has begun.")
    place = conversation or api.new_conversation(normalise(system) if system else None)
    answer = api.ask(place, content, again(model, options))
    status = watch(api, uuid.UUID(answer["id"]), as_json=as_json, no_reasoning=no_reasoning)
    if not (conversation or as_json) and sys.stderr.isatty():
        click.secho(f"Ask on: outlive ask --conversation {place}", err=True, dim=True)
    return status


def _question(argument: str | None) -> str:
    """The question of the command line or of the pipe, without the line end of `echo`."""
    if argument is None and sys.stdin.isatty():
        raise click.UsageError("What is the question? Give it in quotes, or through a pipe.")
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
@talks
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
    answer = api.retry(message_id, again(model, options))
    return watch(api, uuid.UUID(answer["id"]), as_json=as_json, no_reasoning=no_reasoning)


@click.command("continue")
@click.argument("message_id", metavar="ID", type=click.UUID)
@model
@option
@as_json
@no_reasoning
@talks
def go_on(
    api: Api,
    *,
    message_id: uuid.UUID,
    model: str | None,
    options: Json,
    as_json: bool,
    no_reasoning: bool,
) -> int:
    """Continue an answer that ended too early."""
    answer = api.go_on(message_id, again(model, options))
    return watch(api, uuid.UUID(answer["id"]), as_json=as_json, no_reasoning=no_reasoning)


@click.command()
@click.argument("message_id", metavar="ID", type=click.UUID)
@as_json
@no_reasoning
@talks
def follow(api: Api, *, message_id: uuid.UUID, as_json: bool, no_reasoning: bool) -> int:
    """Show an answer from its beginning, until it ends."""
    return watch(api, message_id, as_json=as_json, no_reasoning=no_reasoning)
