"""An answer as the Response object of OpenAI, and its parts as items. Pure.

Every key is there that strict readers of this form want (Open Responses), and null where there is
nothing to say. What the answer was asked with is given back in this dialect's form, whichever
dialect it was asked in.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared.body import Body, Part
from shared.lifecycle import Status
from shared.parts import PartKind, is_text
from shared.store.client_requests import AskedWith
from shared.store.messages import Message
from shared.tool_calls import call_id
from web.dialects import openai_errors
from web.dialects.token_counts import count_of

COMPLETED: Final = "completed"
IN_PROGRESS: Final = "in_progress"
INCOMPLETE: Final = "incomplete"
#: Our finish reason -> why a response is incomplete.
REASONS: Final[Mapping[str | None, str]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}

# --- ids ------------------------------------------------------------------------------------------


def response_id(message_id: uuid.UUID) -> str:
    """The id of a response: it contains that of the message."""
    return f"resp_{message_id}"


def message_id(name: str) -> uuid.UUID | None:
    """The message that an id names: that of a response, of a chat completion, or its own."""
    bare = name.rpartition("_")[2].removeprefix("chatcmpl-")
    try:
        return uuid.UUID(bare) if len(bare) == UUID_CHARS else None
    except ValueError:
        return None


#: Characters of an id as it is written, with its hyphens.
UUID_CHARS: Final = 36
_PREFIXES: Final[Mapping[str, str]] = {PartKind.REASONING: "rs", PartKind.TOOL_CALL: "fc"}


def item_id(answer: uuid.UUID, part: int, kind: str) -> str:
    """The id of an item: it names a part of a message."""
    return f"{_PREFIXES.get(kind, 'msg')}_{answer.hex}_{part}"


def part_of(name: str) -> tuple[uuid.UUID, int] | None:
    """The message and the index of the part that an item's id names."""
    _, _, rest = name.partition("_")
    answer, _, part = rest.partition("_")
    if len(answer) != 32 or not (part.isascii() and part.isdigit() and len(part) < 5):
        return None
    try:
        return uuid.UUID(answer), int(part)
    except ValueError:
        return None


def message_of_item(name: str) -> uuid.UUID | None:
    """The message that an item's id names."""
    _, _, rest = name.partition("_")
    try:
        return uuid.UUID(rest[:32])
    except ValueError:
        return None


# --- items ----------------------------------------------------------------------------------------


def is_shown(kind: str) -> bool:
    """Whether a part of this kind is an item of an answer."""
    return is_text(kind) or kind in (PartKind.REASONING, PartKind.TOOL_CALL)


def item(answer: uuid.UUID, body: Body, index: int, text: str, status: str) -> dict[str, Any]:
    """A part of an answer as an item, with as much of its text as `text`."""
    part = body.parts[index]
    named = item_id(answer, index, part.kind)
    if part.kind == PartKind.REASONING:
        content = [content_part(part.kind, text)] if text else []
        return {"id": named, "type": "reasoning", "summary": [], "content": content}
    if part.kind == PartKind.TOOL_CALL:
        meta = part.meta or {}
        return {
            "id": named,
            "type": "function_call",
            "status": status,
            "call_id": call_id(meta, _calls_before(body.parts, index)),
            "name": meta.get("name") or "",
            "arguments": text,
        }
    return {
        "id": named,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [content_part(part.kind, text)] if text else [],
    }


def content_part(kind: str, text: str) -> dict[str, Any]:
    """The one piece of content of an item that has some."""
    if kind == PartKind.REASONING:
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _calls_before(parts: Sequence[Part], index: int) -> int:
    return sum(part.kind == PartKind.TOOL_CALL for part in parts[:index])


def output(message: Message) -> list[dict[str, Any]]:
    """The items of an answer. All but the last are complete in any case."""
    body, last = message.body, len(message.body.parts) - 1
    of_last = {COMPLETED: COMPLETED, IN_PROGRESS: IN_PROGRESS}.get(status_of(message), INCOMPLETE)
    return [
        item(message.id, body, index, part.text, of_last if index == last else COMPLETED)
        for index, part in enumerate(body.parts)
        if is_shown(part.kind) and not part.is_empty
    ]


def asked_items(message: Message, root: str) -> Iterator[dict[str, Any]]:
    """A turn as items of an input. `root`: the address of this service, for its files."""
    if message.role == "assistant":
        yield from output(message)
        return
    content: list[dict[str, Any]] = []
    for index, part in enumerate(message.body.parts):
        meta = part.meta or {}
        if part.kind == PartKind.TOOL_RESULT:
            yield {
                "id": f"fco_{message.id.hex}_{index}",
                "type": "function_call_output",
                "status": COMPLETED,
                "call_id": str(meta.get("tool_call_id", "")),
                "output": "" if meta.get("empty") else part.text,
            }
        elif found := _asked_part(part, root):
            content.append(found)
    if content:
        yield {
            "id": f"msg_{message.id.hex}",
            "type": "message",
            "status": COMPLETED,
            "role": "user",
            "content": content,
        }


def _asked_part(part: Part, root: str) -> dict[str, Any] | None:
    meta = part.meta or {}
    stored = f"{root}{part.text}" if "file" in meta else part.text
    match part.kind:
        case kind if is_text(kind):
            return {"type": "input_text", "text": part.text}
        case PartKind.IMAGE:
            detail = meta.get("detail", "auto")
            return {"type": "input_image", "image_url": stored, "detail": detail, "file_id": None}
        case PartKind.FILE if "file" in meta:
            return {"type": "input_file", "file_url": stored, "filename": meta.get("filename")}
        case PartKind.FILE:
            return {"type": "input_file", "file_id": part.text}
        case PartKind.AUDIO:
            return {"type": "input_file", "file_url": stored}
    return None


# --- the response ---------------------------------------------------------------------------------


def status_of(message: Message) -> str:
    """One of the six."""
    match message.status:
        case Status.SENDING:
            return "queued"
        case Status.STREAMING:
            return IN_PROGRESS
        case Status.CANCELLED:
            return "cancelled"
        case Status.ERROR:
            return "failed"
    return INCOMPLETE if message.finish_reason in REASONS else COMPLETED


def resource(message: Message, asked: AskedWith) -> dict[str, Any]:
    """The answer as far as it is there."""
    return {**head(message, asked), **so_far(message)}


def so_far(message: Message) -> dict[str, Any]:
    """What changes of a response."""
    status = status_of(message)
    error = openai_errors.failure(message)[1] if message.status == Status.ERROR else None
    reason = REASONS.get(message.finish_reason) if status == INCOMPLETE else None
    ended = int(message.ended_at.timestamp()) if message.ended_at else None
    return {
        "status": status,
        "completed_at": ended if status == COMPLETED else None,
        "error": {"code": error["code"], "message": error["message"]} if error else None,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output(message),
        "usage": usage(message),
    }


def nothing_yet(status: str) -> dict[str, Any]:
    """The same of a response that has just begun."""
    return {
        "status": status,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }


def head(message: Message, asked: AskedWith) -> dict[str, Any]:
    """What is said of a response from its beginning on."""
    options, request = asked.options, asked.request
    limit = options.get("max_completion_tokens", options.get("max_tokens"))
    return {
        "id": response_id(message.id),
        "object": "response",
        "created_at": int(message.created_at.timestamp()),
        "background": bool(request.get("background", False)),
        "conversation": {"id": f"conv_{message.conversation_id}"},
        "instructions": _instructions(asked),
        "max_output_tokens": limit,
        "max_tool_calls": None,
        "metadata": request.get("metadata", options.get("metadata", {})),
        "model": message.model or "",
        "parallel_tool_calls": _said("parallel_tool_calls", asked, True),
        "previous_response_id": _previous(asked),
        "prompt_cache_key": options.get("prompt_cache_key"),
        "reasoning": {
            "effort": options.get("reasoning_effort"),
            "summary": request.get("summary"),
        },
        "safety_identifier": options.get("safety_identifier"),
        "service_tier": options.get("service_tier", "default"),
        "store": True,
        "temperature": options.get("temperature", 1.0),
        "text": _text(options),
        "tool_choice": _tool_choice(_said("tool_choice", asked, "auto")),
        "tools": [_tool(tool) for tool in options.get("tools", ())],
        "top_logprobs": 0,
        "top_p": options.get("top_p", 1.0),
        "presence_penalty": options.get("presence_penalty", 0.0),
        "frequency_penalty": options.get("frequency_penalty", 0.0),
        "truncation": request.get("truncation", "disabled"),
        "user": options.get("user"),
    }


def _said(name: str, asked: AskedWith, otherwise: Any) -> Any:
    return asked.options.get(name, asked.request.get(name, otherwise))


def _instructions(asked: AskedWith) -> str | None:
    found = asked.request.get("instructions", asked.system)
    return found or None


def _previous(asked: AskedWith) -> str | None:
    """The response that was named; of an answer that was asked in another dialect, the one above
    its question."""
    if "previous" in asked.request:
        named = message_id(asked.request["previous"])
        return response_id(named) if named else None
    return response_id(asked.above) if asked.above else None


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function", {})
    return {
        "type": "function",
        "name": function.get("name", ""),
        "description": function.get("description"),
        "parameters": function.get("parameters"),
        "strict": function.get("strict"),
    }


def _tool_choice(found: Any) -> Any:
    if isinstance(found, dict):
        return {"type": "function", "name": found.get("function", {}).get("name", "")}
    return found


def _text(options: Mapping[str, Any]) -> dict[str, Any]:
    found = options.get("response_format") or {"type": "text"}
    if found.get("type") == "json_schema":
        found = {"description": None, "strict": None, **found["json_schema"], "type": found["type"]}
    verbosity = {"verbosity": options["verbosity"]} if "verbosity" in options else {}
    return {"format": found, **verbosity}


def usage(message: Message) -> dict[str, Any] | None:
    """What the provider reported; None if it reported nothing."""
    found = message.usage or {}
    if found.get("source") != "reported":
        return None
    sent = count_of(found, "prompt_tokens", "input_tokens")
    written = count_of(found, "completion_tokens", "output_tokens")
    if sent is None and written is None:
        return None
    read = found.get("prompt_tokens_details") or found.get("input_tokens_details") or {}
    said = found.get("completion_tokens_details") or found.get("output_tokens_details") or {}
    return {
        "input_tokens": sent or 0,
        "input_tokens_details": {
            "cached_tokens": count_of(read, "cached_tokens") or 0,
            "cache_write_tokens": count_of(read, "cache_write_tokens") or 0,
        },
        "output_tokens": written or 0,
        "output_tokens_details": {"reasoning_tokens": count_of(said, "reasoning_tokens") or 0},
        "total_tokens": found.get("total_tokens", (sent or 0) + (written or 0)),
    }
