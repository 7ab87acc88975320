"""The command `list`: conversations, or the messages of one."""

import uuid

import click

from cli.command_options import as_json, with_service, write_json
from cli.exit_status import Exit
from cli.screen import visible
from outlive_client import Conversation, Message, Outlive

#: Characters of a title or message on one line.
PREVIEW = 60


@click.command("list")
@click.argument("conversation", required=False, metavar="[ID]", type=click.UUID)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many.")
@as_json
@with_service
def list_(service: Outlive, conversation: uuid.UUID | None, limit: int, *, as_json: bool) -> int:
    """List the newest conversations, or the messages of one."""
    if conversation:
        found = service.conversation(str(conversation))
        document, lines = found.raw, [_message(one) for one in found.messages]
    else:
        page = service.conversations(limit=limit)
        document = {"items": [one.raw for one in page], "next": page.next}
        lines = [_conversation(one) for one in page]
    if as_json:
        write_json(document)
    else:
        for line in lines:
            click.echo(line)
    return Exit.DONE


def _conversation(one: Conversation) -> str:
    when = one.updated_at.astimezone()
    return f"{one.id}  {when:%Y-%m-%d %H:%M}  {_preview(one.title or '(no title)')}"


def _message(one: Message) -> str:
    return f"{one.id}  {one.role:<9}  {one.status:<9}  {_preview(one.text)}"


def _preview(text: str) -> str:
    """The beginning of a text, on one line."""
    words = visible(" ".join(text[: 4 * PREVIEW].split()))
    return words if len(words) <= PREVIEW else f"{words[: PREVIEW - 1]}…"
