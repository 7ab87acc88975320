"""The calls of the API, as values. Pure: the clients send them.

A `Call` is one request that may be repeated: what creates something carries its Idempotency-Key, so
that it is created once, however often it is sent. A `Flow` is a generator of calls which gets what
each was answered, for what takes several.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Generic, TypeVar, Union
from urllib.parse import quote

from outlive_client._models import (
    Asked,
    Conversation,
    Hit,
    Json,
    Message,
    Models,
    Page,
    Share,
    Shared,
    Usage,
    items_of,
    page_of,
)

T = TypeVar("T")

#: Items that the service gives at once, at most: of a list, and of a search.
LIST_MOST = 200
SEARCH_MOST = 50


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its JSON is read."""

    method: str
    path: str
    read: Callable[[Json], T]
    params: Mapping[str, str] = field(default_factory=dict)
    fields: Json | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes | None:
        """The body. ASCII, so that any string can be sent: the service replaces what is no text."""
        return None if self.fields is None else json.dumps(self.fields).encode("ascii")

    @property
    def deletes(self) -> bool:
        """Whether it is done if there is nothing there any more."""
        return self.method == "DELETE"


Flow = Generator[Call[Any], Any, T]
#: The default of `parent`: below the newest answer.
NEWEST = "newest"
Parent = Union[str, None]


def create_conversation(title: str | None, system: str | None) -> Call[Conversation]:
    """A new conversation."""
    fields = {"title": title, "system": system}
    return _making("/api/conversations", _given(fields), Conversation.of)


def change_conversation(conversation_id: str, changes: Json) -> Call[Conversation]:
    """Change what `changes` names: title, system."""
    return Call("PATCH", _conversation(conversation_id), Conversation.of, fields=changes)


def delete_conversation(conversation_id: str) -> Call[None]:
    """Delete a conversation."""
    return Call("DELETE", _conversation(conversation_id), _nothing)


def undelete_conversation(conversation_id: str) -> Call[Conversation]:
    """Take it back."""
    return Call("POST", f"{_conversation(conversation_id)}/undelete", Conversation.of)


def conversations(limit: int, cursor: str | None) -> Flow[Page[Conversation]]:
    """The newest ones."""
    return _pages(
        "/api/conversations", Conversation.of, {}, most=LIST_MOST, limit=limit, cursor=cursor
    )


def search(words: str, limit: int, cursor: str | None) -> Flow[Page[Hit]]:
    """What has all these words."""
    return _pages("/api/search", Hit.of, {"q": words}, most=SEARCH_MOST, limit=limit, cursor=cursor)


def models() -> Call[Models]:
    """The models that can be asked."""
    return Call("GET", "/api/models", Models.of)


def usage() -> Call[Usage]:
    """Tokens and budgets."""
    return Call("GET", "/api/usage", Usage.of)


def share(conversation_id: str, user: str | None, days: int | None) -> Call[Share]:
    """A share with this user, or a link."""
    fields = _given({"user": user, "days": days})
    return Call("POST", f"{_conversation(conversation_id)}/shares", Share.of, fields=fields)


def shares(conversation_id: str) -> Call[Sequence[Share]]:
    """The shares of a conversation."""
    return Call("GET", f"{_conversation(conversation_id)}/shares", items_of(Share.of))


def revoke_share(share_id: str) -> Call[None]:
    """Revoke a share."""
    return Call("DELETE", f"/api/shares/{quote(str(share_id), safe='')}", _nothing)


def shared() -> Call[Sequence[Shared]]:
    """What others share."""
    return Call("GET", "/api/shared", items_of(Shared.of))


def delete_user() -> Call[None]:
    """Delete the user who asks, and everything of theirs."""
    return Call("POST", "/api/user/delete", _nothing, fields={"confirm": "delete everything"})


def message(message_id: str) -> Call[Message]:
    """A message as it is now."""
    return Call("GET", message_path(message_id), Message.of)


def stop(message_id: str) -> Call[Message]:
    """Stop an answer."""
    return Call("POST", f"{message_path(message_id)}/stop", Message.of)


def conversation(conversation_id: str, leaf: str | None) -> Flow[Conversation]:
    """A conversation with one whole branch, in as many calls as that takes."""
    place, query = _conversation(conversation_id), _given({"leaf": leaf})
    raw: Json = yield Call("GET", place, _as_it_is, params=query)
    turns: list[Json] = raw["messages"]
    earlier = raw.pop("earlier", None)
    while earlier is not None:  # above the turns that are here
        query = {"leaf": turns[-1]["id"], "before": earlier, "limit": str(LIST_MOST)}
        page: Json = yield Call("GET", place, _as_it_is, params=query)
        turns[:0] = page["messages"]
        earlier = page["earlier"] if page["messages"] else None
    for number, turn in enumerate(turns):
        if turn["length"] is not None and turn["position"] < turn["length"]:  # it was cut there
            whole: Json = yield Call("GET", message_path(turn["id"]), _as_it_is)
            turns[number] = {**turn, **whole}
    return Conversation.of({**raw, "messages": turns})


def ask(conversation_id: str, fields: Json, key: str | None) -> Call[Asked]:
    """A question."""
    return _making(f"{_conversation(conversation_id)}/messages", fields, Asked.of, key)


def retry(message_id: str, fields: Json, key: str | None) -> Call[Asked]:
    """Another answer to the same question."""
    return _making(f"{message_path(message_id)}/retry", fields, Asked.of, key)


def continue_(message_id: str, fields: Json, key: str | None) -> Call[Asked]:
    """An answer that continues this one."""
    return _making(f"{message_path(message_id)}/continue", fields, Asked.of, key)


def answer_fields(model: str | None, options: Mapping[str, Any] | None) -> Json:
    """The fields that say how to answer."""
    return _given({"model": model, "options": dict(options) if options else None})


def question_fields(
    content: str, parent: Parent, model: str | None, options: Mapping[str, Any] | None
) -> Json:
    """The fields of a question."""
    below = {} if parent == NEWEST else {"parent_id": parent}
    return {"content": content, **below, **answer_fields(model, options)}


def message_path(message_id: str) -> str:
    """Where a message is."""
    return f"/api/messages/{quote(str(message_id), safe='')}"


def _conversation(conversation_id: str) -> str:
    return f"/api/conversations/{quote(str(conversation_id), safe='')}"


def _making(path: str, fields: Json, read: Callable[[Json], T], key: str | None = None) -> Call[T]:
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    return Call("POST", path, read, fields=fields, headers=headers)


def _pages(
    path: str,
    read: Callable[[Json], T],
    query: Mapping[str, str],
    *,
    most: int,
    limit: int,
    cursor: str | None,
) -> Flow[Page[T]]:
    items: list[T] = []
    while True:
        asked = {"limit": str(min(limit - len(items), most)), **_given({"cursor": cursor})}
        page: Page[T] = yield Call("GET", path, page_of(read), params={**query, **asked})
        items += page.items
        cursor = page.next
        if len(items) >= limit or cursor is None:
            return Page(items, cursor)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _as_it_is(raw: Json) -> Json:
    return raw


def _nothing(_raw: Json) -> None:
    return None
