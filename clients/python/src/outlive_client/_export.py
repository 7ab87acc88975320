"""A conversation as one document: Markdown for people, JSON for programs. Pure."""

from __future__ import annotations

import json

from outlive_client import _calls
from outlive_client._calls import Flow
from outlive_client._models import Conversation, Json, Message

MARKDOWN, JSON = "markdown", "json"


def export(conversation_id: str, form: str, leaf: str | None) -> Flow[str]:
    """Markdown of one branch, or JSON of all of them."""
    if form == MARKDOWN:
        return _markdown(conversation_id, leaf)
    if form == JSON:
        return _json(conversation_id)
    raise ValueError(f"a conversation is exported as {MARKDOWN!r} or {JSON!r}, not as {form!r}")


def _markdown(conversation_id: str, leaf: str | None) -> Flow[str]:
    found = yield from _calls.conversation(conversation_id, leaf)
    head = [f"# {found.title or 'Conversation'}", *([f"> {found.system}"] if found.system else [])]
    return "\n\n".join([*head, *map(_turn, found.messages)]) + "\n"


def _turn(message: Message) -> str:
    if message.role == "user":
        return f"## Question\n\n{message.text}"
    notes = [message.model or "", "" if message.status == "DONE" else message.status.lower()]
    if message.error is not None:
        notes.append(message.error.message)
    shown = ", ".join(note for note in notes if note)
    return f"## Answer{f' ({shown})' if shown else ''}\n\n{message.text}"


def _json(conversation_id: str) -> Flow[str]:
    """All branches: each message names its siblings and the newest leaf below each."""
    messages: dict[str, Json] = {}
    leaves: list[str | None] = [None]
    found: Conversation | None = None
    while leaves:
        branch = yield from _calls.conversation(conversation_id, leaves.pop())
        found = found or branch
        for message in branch.messages:
            messages[message.id] = {
                name: value for name, value in message.raw.items() if name != "siblings"
            }
            leaves += [
                one.leaf
                for one in message.siblings
                if one.id not in messages and one.leaf not in leaves
            ]
        leaves = [leaf for leaf in leaves if leaf not in messages]
    assert found is not None
    document = {
        **found.raw,
        "messages": sorted(messages.values(), key=lambda one: (one["created_at"], one["id"])),
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
