"""Messages as clients of AG-UI keep them: those of an answer, and those of a conversation. Pure.

An answer of ours is one message with parts. In AG-UI text, thoughts and calls are messages of their
own, so each has an id that follows from the answer's: the first text has the answer's id itself,
others the number of their part after it. A call belongs to the text before it. These ids are in
events and in snapshots, so that a client finds one in the other.

TanStack's client keeps messages with parts, as we do, and reads those of a conversation when it
opens: `of_branch`. `in_order` has the same as AG-UI's own messages, for HttpAgent.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared import media
from shared.body import Body, Part
from shared.lifecycle import OPEN
from shared.parts import PartKind, is_text
from shared.store.messages import Message
from shared.tool_calls import results_of, value_of

#: Kinds of media in a question, as AG-UI names them.
_MEDIA: Final = {
    PartKind.IMAGE: "image",
    PartKind.AUDIO: "audio",
    PartKind.FILE: "document",
}

# --- ids -----------------------------------------------------------------------------------------


def text_id(answer: str, body: Body, part: int) -> str:
    """The id of the message that a part of text is, or that a call belongs to."""
    parts = body.parts
    own = next((place for place in range(part, -1, -1) if is_text(parts[place].kind)), None)
    if own is None or not any(is_text(one.kind) for one in parts[:own]):
        return answer
    return f"{answer}-{own}"


def thought_id(answer: str, part: int) -> str:
    """The id of the message that a part of reasoning is."""
    return f"{answer}-reasoning-{part}"


def call_id(body: Body, part: int) -> str:
    """The id of a call; some providers give none (`shared/tool_calls.py`)."""
    found = (body.parts[part].meta or {}).get("id")
    if found:
        return str(found)
    return f"call_{sum(one.kind == PartKind.TOOL_CALL for one in body.parts[:part])}"


def call_name(part: Part) -> str:
    """The function that is called."""
    return str((part.meta or {}).get("name") or "")


def call_input(part: Part) -> Any:
    """The arguments of a call as a value; None if they are none, or no JSON."""
    try:
        return value_of(part.text)
    except ValueError:
        return None


# --- an answer, as AG-UI has it ------------------------------------------------------------------


def of_answer(answer: str, body: Body, parts: int) -> list[dict[str, Any]]:
    """The first `parts` parts of an answer as messages."""
    found: dict[str, dict[str, Any]] = {}
    for place, part in enumerate(body.parts[:parts]):
        if part.is_empty:
            continue
        if part.kind == PartKind.REASONING:
            named = thought_id(answer, place)
            found[named] = {"id": named, "role": "reasoning", "content": part.text}
            continue
        if not is_text(part.kind) and part.kind != PartKind.TOOL_CALL:
            continue
        named = text_id(answer, body, place)
        message = found.setdefault(named, {"id": named, "role": "assistant"})
        if is_text(part.kind):
            message["content"] = part.text
        else:
            message.setdefault("toolCalls", []).append(_call(body, place))
    return list(found.values())


def _call(body: Body, place: int) -> dict[str, Any]:
    part = body.parts[place]
    function = {"name": call_name(part), "arguments": part.text}
    return {"id": call_id(body, place), "type": "function", "function": function}


# --- a conversation, as AG-UI has it -------------------------------------------------------------


def in_order(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages of a branch: of each question its results and then what was said."""
    found: list[dict[str, Any]] = []
    for message in messages:
        named, body = str(message.id), message.body
        if message.role == "assistant":
            found += of_answer(named, body, len(body.parts))
            continue
        for number, result in enumerate(results_of(body)):
            said = {"toolCallId": result.call_id, "content": result.content}
            found.append({"id": f"{named}-result-{number}", "role": "tool", **said})
        parts = list(_content(body))
        if parts:
            only = parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
            found.append({"id": named, "role": "user", "content": only})
    return found


def _content(body: Body) -> Iterator[dict[str, Any]]:
    for part in body.parts:
        if is_text(part.kind):
            yield {"type": "text", "text": part.text}
        elif part.kind in _MEDIA:
            yield _media(part)


# --- a conversation, as TanStack's client has it -------------------------------------------------


def of_branch(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages of a branch. Results of tools belong to the answer that called them."""
    shown: list[dict[str, Any]] = []
    for message in messages:
        results = {one.call_id: one.content for one in results_of(message.body)}
        if results and shown and shown[-1]["role"] == "assistant":
            shown[-1]["parts"] = list(_with_results(shown[-1]["parts"], results))
        parts = [*_parts(message)]
        if parts or message.role == "assistant":
            shown.append({"id": str(message.id), "role": message.role, "parts": parts})
    return shown


def _parts(message: Message) -> Iterator[dict[str, Any]]:
    body = message.body
    for place, part in enumerate(body.parts):
        if is_text(part.kind):
            yield {"type": "text", "content": part.text}
        elif part.kind == PartKind.REASONING:
            yield {"type": "thinking", "content": part.text}
        elif part.kind == PartKind.TOOL_CALL:
            is_open = message.status in OPEN
            call = {
                "type": "tool-call",
                "id": call_id(body, place),
                "name": call_name(part),
                "arguments": part.text,
                "state": "input-streaming" if is_open else "input-complete",
            }
            found = None if is_open else call_input(part)
            yield call if found is None else {**call, "input": found}
        elif part.kind in _MEDIA:
            yield _media(part)


def _media(part: Part) -> dict[str, Any]:
    meta = dict(part.meta or {})
    source = {"type": "url", "value": part.text}
    if media.file_id(part) is not None:
        source["mimeType"] = str(meta.get("type", ""))
    named = {name: meta[name] for name in ("filename", "detail") if name in meta}
    shown = {"type": _MEDIA[PartKind(part.kind)], "source": source}
    return {**shown, "metadata": named} if named else shown


def _with_results(
    parts: Sequence[Mapping[str, Any]], results: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    """The parts of an answer, and after each call what it returned."""
    for part in parts:
        found = results.get(part["id"]) if part["type"] == "tool-call" else None
        if found is None:
            yield part
            continue
        yield {**part, "state": "complete", "output": found}
        yield {
            "type": "tool-result",
            "toolCallId": part["id"],
            "content": found,
            "state": "complete",
        }
