"""`list` and `stop`: what there is, and ending what is under way."""

import uuid
from datetime import datetime

import click

from cli.api_client import Api, Json
from cli.exits import Exit
from cli.screen import visible
from cli.talking import as_json, talks, write_json
from shared.lifecycle import OPEN, Status

#: Characters of a message in a list.
PREVIEW = 60


@click.command("list")
@click.argument("conversation", required=False, metavar="[ID]", type=click.UUID)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many.")
@as_json
@talks
def list_(api: Api, conversation: uuid.UUID | None, limit: int, *, as_json: bool) -> int:
    """List the newest conversations, or the messages of one."""
    if conversation:
        found = api.conversation(conversation)
        lines = [_message(message) for message in found["messages"]]
    else:
        found = api.conversations(limit)
        lines = [_conversation(item) for item in found["items"]]
    if as_json:
        write_json(found)
    else:
        for line in lines:
            click.echo(line)
    return Exit.DONE


def _conversation(item: Json) -> str:
    when = datetime.fromisoformat(item["updated_at"]).astimezone()
    return f"{item['id']}  {when:%Y-%m-%d %H:%M}  {_line(item['title'] or '(no title)')}"


def _message(message: Json) -> str:
    state = f"{message['role']:<9}  {message['status']:<9}"
    return f"{message['id']}  {state}  {_line(message['text'])}"


def _line(text: str) -> str:
    """The beginning of a text, on one line."""
    words = visible(" ".join(text[: 4 * PREVIEW].split()))
    return words if len(words) <= PREVIEW else f"{words[: PREVIEW - 1]}…"


@click.command()
@click.argument("message_id", metavar="ID", type=click.UUID)
@as_json
@talks
def stop(api: Api, message_id: uuid.UUID, *, as_json: bool) -> int:
    """End an answer; what was written is kept."""
    message = api.stop(message_id)
    if as_json:
        write_json(message)
    elif message["status"] in OPEN:
        click.echo("It will be stopped in a moment; what was written is kept.")
    elif message["status"] == Status.CANCELLED:
        click.echo("Stopped; what was written is kept.")
    else:
        click.echo(f"It has ended already: {message['status']}.")
    return Exit.DONE
