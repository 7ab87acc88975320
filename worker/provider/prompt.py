"""The prompt: the path from the root of a conversation to the question. Pure.

Templates of models are strict: many want user and assistant to take turns, and some know no system
role. So consecutive turns of one role (a question below an answer that failed without text) are
joined, and `without_system` puts the system text into the first question.

Providers are strict about tools, too: an answer with calls must be followed by one `tool` turn for
each of them, and a `tool` turn must follow its call. So such an answer and its results are one
*exchange*, and the history is cut between exchanges only. Calls without a result (the person asked
something else instead) are left out, as no provider would accept them.

A turn with nothing but one text has it as a string, which every provider understands. Content of
several parts is a list of parts, in OpenAI's form.
"""

import base64
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared import media, tool_calls
from shared.body import Body, Part
from shared.media import FILES_BYTES, StoredFile
from shared.parts import PartKind, is_text

Turn = dict[str, Any]
Path = Sequence[tuple[str, Body]]

#: Separates two texts that are joined to one turn.
SEPARATOR: Final = "\n\n"
#: Fields of a turn that may be joined with its neighbour.
_JOINED: Final = {"role", "content"}


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is sent or left out as a whole: a question, an answer, or calls and their results."""

    #: the answer with the calls, if there are any, and what it consists of else
    answer: Body | None
    question: Body | None

    @property
    def size(self) -> int:
        """Code points."""
        asked = [part for part in self.question.parts if _is_sent(part)] if self.question else []
        said = len(self.answer.text) if self.answer else 0
        calls = tool_calls.calls_of(self.answer) if self.answer and self.question else []
        texts = sum(part.end - part.start for part in asked)
        return said + texts + sum(len(call.name) + len(call.arguments) for call in calls)

    @property
    def bytes(self) -> int:
        """Bytes of its stored files."""
        return sum(map(media.file_bytes, self.question.parts)) if self.question else 0


def build(
    system: str | None,
    path: Path,
    budget: int,
    files: Mapping[uuid.UUID, StoredFile] | None = None,
) -> list[Turn]:
    """The chat messages for a path of (role, body), the question last.

    Empty answers are left out, partial ones kept; roles take turns. When the turns have more than
    `budget` code points, or FILES_BYTES of stored files, the oldest are left out, but never the
    question, nor the calls that it has results of. `files`: those of `file_ids`.
    """
    kept = joined([turn for one in _kept(path, budget) for turn in _turns(one, files or {})])
    return [*([{"role": "system", "content": system}] if system else []), *kept]


def file_ids(path: Path, budget: int) -> set[uuid.UUID]:
    """The ids of the stored files that `build` wants for this path."""
    return {
        found
        for exchange in _kept(path, budget)
        if exchange.question is not None
        for found in media.file_ids(exchange.question)
    }


def _kept(path: Path, budget: int) -> list[Exchange]:
    """The newest exchanges that fit, the question last."""
    kept: list[Exchange] = []
    room = FILES_BYTES
    for exchange in reversed(_exchanges(path)):
        joins = bool(kept) and (kept[0].answer is None) == (exchange.question is not None)
        budget -= exchange.size + len(SEPARATOR) * joins
        room -= exchange.bytes
        if kept and (budget < 0 or room < 0):
            break
        kept.insert(0, exchange)
    # The prompt must not begin with an answer whose question was left out, unless all that is left
    # are calls and results since then.
    first = next((place for place, one in enumerate(kept) if one.answer is None), 0)
    return kept[first:]


def _exchanges(path: Path) -> list[Exchange]:
    found: list[Exchange] = []
    for place, (role, body) in enumerate(path):
        if role == "assistant":
            following = path[place + 1][1] if place + 1 < len(path) else None
            if following is None or not tool_calls.results_of(following):
                found += [Exchange(body, None)] if body.text else []
        elif tool_calls.results_of(body):
            above = path[place - 1] if place else ("", Body())
            answer = above[1] if above[0] == "assistant" else None
            found.append(Exchange(answer, body))
        elif any(map(_is_sent, body.parts)):
            found.append(Exchange(None, body))
    return found


def _turns(exchange: Exchange, files: Mapping[uuid.UUID, StoredFile]) -> Iterator[Turn]:
    answer, question = exchange.answer, exchange.question
    results = tool_calls.results_of(question) if question else []
    if answer is not None:
        yield _answer(answer, {result.call_id for result in results})
        for result in results:
            yield {"role": "tool", "tool_call_id": result.call_id, "content": result.content}
    if question is not None:
        content = [_content(part, files) for part in question.parts if _is_content(part)]
        if content:
            yield {"role": "user", "content": _plain(content)}


def _answer(body: Body, answered: set[str]) -> Turn:
    called = [call for call in tool_calls.calls_of(body) if call.id in answered]
    if not called:
        return {"role": "assistant", "content": body.text}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in called
    ]
    return {"role": "assistant", "content": body.text or None, "tool_calls": calls}


def _is_content(part: Part) -> bool:
    return is_text(part.kind) or part.kind in media.KINDS


def _is_sent(part: Part) -> bool:
    return _is_content(part) or part.kind == PartKind.TOOL_RESULT


def _content(part: Part, files: Mapping[uuid.UUID, StoredFile]) -> dict[str, Any]:
    """A part of a question, in OpenAI's form."""
    if is_text(part.kind):
        return {"type": "text", "text": part.text}
    meta = part.meta or {}
    found = media.file_id(part)
    data = "" if found is None else base64.b64encode(files[found].data).decode()
    address = f"data:{meta.get('type')};base64,{data}" if data else part.text
    if part.kind == PartKind.IMAGE:
        detail = {"detail": meta["detail"]} if "detail" in meta else {}
        return {"type": "image_url", "image_url": {"url": address, **detail}}
    if part.kind == PartKind.AUDIO:
        return {"type": "input_audio", "input_audio": {"data": data, "format": meta["format"]}}
    if not data:
        return {"type": "file", "file": {"file_id": part.text}}
    return {"type": "file", "file": {"filename": meta["filename"], "file_data": address}}


def _plain(content: list[dict[str, Any]]) -> Any:
    """Content of one text as a string."""
    only = content[0]
    return only["text"] if len(content) == 1 and only["type"] == "text" else content


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """The turns, with consecutive ones of one role joined; calls and results stay apart."""
    found: list[Turn] = []
    for turn in turns:
        last = found[-1] if found else {}
        if last.keys() == turn.keys() == _JOINED and last["role"] == turn["role"]:
            found[-1] = {**turn, "content": _both(last["content"], turn["content"])}
        else:
            found.append(turn)
    return found


def _both(one: Any, other: Any) -> Any:
    if isinstance(one, str) and isinstance(other, str):
        return one + SEPARATOR + other
    return [*_as_parts(one), *_as_parts(other)]


def _as_parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def has_system(turns: Sequence[Turn]) -> bool:
    """Whether the first turn is a system text."""
    return bool(turns) and turns[0]["role"] == "system"


def without_system(turns: Sequence[Turn]) -> Sequence[Turn]:
    """The turns for a model without a system role: the first question begins with its text."""
    if not has_system(turns):
        return turns
    system, *rest = turns
    if not rest or rest[0]["role"] != "user":
        return [{**system, "role": "user"}, *rest]
    return [{**rest[0], "content": _both(system["content"], rest[0]["content"])}, *rest[1:]]
