"""A conversation, or everything, as a document: Markdown for people, JSON for programs. Pure."""

from __future__ import annotations

import codecs
import json

from outlive_client import _calls
from outlive_client._calls import Call, Flow
from outlive_client._errors import Unreachable
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


#: How each form of everything is asked for, and how its last line begins and ends.
_FORMS = {
    JSON: ("jsonl", '{"type":"end"', "}"),
    MARKDOWN: ("markdown", "", "This is the end of the export."),
}


class Everything:
    """All of a user, as it comes: lines of JSON, or Markdown in pieces.

    The service's last line says that this was all. Without it the export was cut on the way.
    """

    def __init__(self, url: str, form: str) -> None:
        if form not in _FORMS:
            raise ValueError(f"everything is exported as {MARKDOWN!r} or {JSON!r}, not as {form!r}")
        self._url = url
        name, self._begins, self._ends = _FORMS[form]
        self.call: Call[Json] = Call("GET", f"/api/export?format={name}", lambda raw: raw)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._lines = form == JSON
        self._rest = self._last = ""

    def feed(self, data: bytes) -> list[str]:
        """The pieces that some bytes complete."""
        text = self._rest + self._decoder.decode(data)
        *lines, self._rest = text.split("\n")
        self._last = next((line for line in reversed(lines) if line), self._last)
        return lines if self._lines else [f"{line}\n" for line in lines]

    def finish(self) -> None:
        """Nothing more comes. Raises Unreachable if that was not all."""
        whole = self._last.replace(" ", "").startswith(self._begins)
        if self._rest or not whole or not self._last.endswith(self._ends):
            raise Unreachable(f"The export from {self._url} was cut.", temporary=True)
