"""What OpenAI's stored completions say of a request: its options and its messages. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from shared import media
from shared.body import Body, Part
from shared.errors import Invalid, NotFound
from shared.parts import PartKind, is_text
from shared.store.messages import Message
from shared.tool_calls import calls_of, results_of

#: Options that a stored completion shows.
_SHOWN: Final = (
    *("frequency_penalty", "metadata", "presence_penalty", "response_format", "seed"),
    *("service_tier", "temperature", "tool_choice", "tools", "top_p"),
)
#: Messages in a page, and at most.
_PAGE: Final = 20
_MOST: Final = 100


def stored_with(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a stored completion has besides one that was just written."""
    return {"metadata": None, **{name: options[name] for name in _SHOWN if name in options}}


def stored_messages(
    answer: UUID, system: str | None, turns: Sequence[Message], host: str
) -> list[dict[str, Any]]:
    """The messages of a request, each with an id of its own. `host`: where files are read."""
    listed = [{"id": f"{answer}-system", "role": "system", "content": system}] if system else []
    for turn in turns:
        for number, message in enumerate(_messages(turn.role, turn.body, host)):
            listed.append({"id": f"{turn.id}-{number}", **message})
    return listed


def _messages(role: str, body: Body, host: str) -> Iterator[dict[str, Any]]:
    if role == "assistant":
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in calls_of(body)
        ]
        said = {"role": role, "content": body.text or None, "content_parts": None}
        yield {**said, **({"tool_calls": calls} if calls else {})}
        return
    for result in results_of(body):
        yield {"role": "tool", "tool_call_id": result.call_id, "content": result.content}
    content = [part for part in body.parts if is_text(part.kind) or part.kind in media.KINDS]
    if content:
        is_plain = len(content) == 1 and is_text(content[0].kind)
        parts = None if is_plain else [_part(part, host) for part in content]
        yield {"role": role, "content": body.text or None, "content_parts": parts}


def _part(part: Part, host: str) -> dict[str, Any]:
    meta = part.meta or {}
    if is_text(part.kind):
        return {"type": "text", "text": part.text}
    stored = media.file_id(part) is not None
    address = host.rstrip("/") + part.text if stored else part.text
    if part.kind == PartKind.IMAGE:
        detail = {"detail": meta["detail"]} if "detail" in meta else {}
        return {"type": "image_url", "image_url": {"url": address, **detail}}
    if part.kind == PartKind.AUDIO:
        return {"type": "input_audio", "input_audio": {"data": address, "format": meta["format"]}}
    named = {"filename": meta["filename"], "file_data": address}
    return {"type": "file", "file": named if stored else {"file_id": part.text}}


def page_of(listed: Sequence[Mapping[str, Any]], asked: Mapping[str, str]) -> dict[str, Any]:
    """A page of messages, as `after`, `limit` and `order` ask for it. Raises Invalid, NotFound."""
    order, limit = asked.get("order", "asc"), asked.get("limit", str(_PAGE))
    if order not in ("asc", "desc"):
        raise Invalid("order must be asc or desc.", param="order")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 5 and 1 <= int(limit) <= _MOST):
        raise Invalid(f"limit must be 1 to {_MOST}.", "invalid_limit", param="limit")
    ordered = listed if order == "asc" else listed[::-1]
    first = 0
    if "after" in asked:
        ids = [one["id"] for one in ordered]
        if asked["after"] not in ids:
            raise NotFound("There is no message `after` here.")
        first = ids.index(asked["after"]) + 1
    page = ordered[first : first + int(limit)]
    return {
        "object": "list",
        "data": list(page),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": first + len(page) < len(ordered),
    }
