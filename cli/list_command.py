"""The command `list`: conversations, or the messages of one."""

import uuid
from datetime import datetime

import click

from cli.api_client import Api, Json
from cli.command_options import as_json, with_api, write_json
from cli.exit_status import Exit
from cli.screen import visible

#: Characters of a title or message on one line.
PREVIEW = 60


@click.command("list")
@click.argument("conversation", required=False, metavar="[ID]", type=click.UUID)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many.")
@as_json
@with_api
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
    return f"{item['id']}  {when:%Y-%m-%d %H:%M}  {_preview(item['title'] or '(no title)')}"


def _message(message: Json) -> str:
    state = f"{message['role']:<9}  {message['status']:<9}"
    return f"{message['id']}  {state}  {_preview(message['text'])}"


def _preview(text: str) -> str:
    """The beginning of a text, on one line."""
    words = visible(" ".join(text[: 4 * PREVIEW].split()))
    return words if len(words) <= PREVIEW else f"{words[: PREVIEW - 1]}…"
