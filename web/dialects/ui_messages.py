"""A branch of a conversation as the AI SDK's UI messages. Pure: the reverse of `ui_request.py`.

The client shows what follows a tool call in one message, as further steps. So answers that go on
after results of tools become one UI message, which has the id of the first of them. An answer that
is still open is there as far as it is written: a client that resumes rebuilds it under its id.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from shared import media, sse
from shared.body import Body, Part
from shared.lifecycle import TERMINAL
from shared.parts import PartKind, is_text
from shared.store.messages import Message
from shared.tool_calls import results_of, value_of
from web.dialects import ui_chunks

#: Media type of an image that is an address, of which nothing else is known.
_IMAGE: Final = "image/*"


class Step:
    """An answer, and what the client returned for its calls."""

    def __init__(self, answer: Message) -> None:
        self.answer = answer
        #: by the id of the call
        self.outputs: dict[str, Part] = {}


def steps_of(branch: Sequence[Message]) -> list[Step]:
    """The steps of the last answer of a branch, from the first one that is there."""
    steps: list[Step] = []
    for message in branch:
        if message.role == "assistant":
            steps.append(Step(message))
        elif steps and results_of(message.body):
            steps[-1].outputs = _outputs(message.body)
        else:
            steps = []
    return steps


def ui_messages(branch: Sequence[Message]) -> list[dict[str, Any]]:
    """The UI messages of a branch, root first."""
    found: list[dict[str, Any]] = []
    answer: dict[str, Any] | None = None
    step: Step | None = None
    place = 0
    for message in branch:
        if message.role == "assistant":
            if answer is None:
                answer = {"id": str(message.id), "role": "assistant", "parts": []}
                found.append(answer)
            step = Step(message)
            place = len(answer["parts"])
            answer["parts"] += _answer_parts(step)
            answer["metadata"] = {"outlive": ui_chunks.metadata_of(message)}
            continue
        if answer is not None and step is not None and results_of(message.body):
            step.outputs = _outputs(message.body)
            answer["parts"][place:] = _answer_parts(step)
            if all(part.kind == PartKind.TOOL_RESULT for part in message.body.parts):
                continue
        answer = step = None
        found.append(
            {"id": str(message.id), "role": "user", "parts": list(_question_parts(message.body))}
        )
    return found


def frames_before(steps: Sequence[Step]) -> bytes:
    """`chunks_before` as events."""
    return b"".join(b"data: %b\n\n" % line.encode() for line in chunks_before(steps))


def chunks_before(steps: Sequence[Step]) -> list[str]:
    """The chunks of steps that are complete, which stand before those of the last answer.

    The input of a call that was answered is not announced as available, or the client would run
    the tool again: it has the input from its deltas, and then the output.
    """
    lines: list[str] = []
    for step in steps:
        chunks = list(ui_chunks.after(0, step.answer.id, step.answer.body, step.answer))
        lines += [
            one.json
            for one in chunks
            if not one.json.startswith(('{"type":"finish', '{"type":"error', '{"type":"message-m'))
            and not (step.outputs and one.json.startswith('{"type":"tool-input-available'))
        ]
        lines += [sse.to_json(_output_chunk(call, part)) for call, part in step.outputs.items()]
        lines.append('{"type":"finish-step"}')
    return lines


def _outputs(body: Body) -> dict[str, Part]:
    return {
        str((part.meta or {}).get("tool_call_id", "")): part
        for part in body.parts
        if part.kind == PartKind.TOOL_RESULT
    }


def _output_chunk(call: str, part: Part) -> dict[str, Any]:
    if (part.meta or {}).get("error"):
        return {"type": "tool-output-error", "toolCallId": call, "errorText": _text(part)}
    return {"type": "tool-output-available", "toolCallId": call, "output": _output(part)}


def _output(part: Part) -> Any:
    """As the client had it."""
    text = _text(part)
    if not (part.meta or {}).get("json"):
        return text
    try:
        return value_of(text)
    except ValueError:
        return text


def _text(part: Part) -> str:
    return "" if (part.meta or {}).get("empty") else part.text


def _answer_parts(step: Step) -> Iterator[dict[str, Any]]:
    body, has_ended = step.answer.body, step.answer.status in TERMINAL
    yield {"type": "step-start"}
    for index, part in enumerate(body.parts):
        done = has_ended or index + 1 < len(body.parts)
        if part.is_empty:
            continue
        if part.kind == PartKind.TOOL_CALL:
            yield _call(step, index, done=done)
        elif is_text(part.kind) or part.kind == PartKind.REASONING:
            kind = "text" if is_text(part.kind) else "reasoning"
            yield {"type": kind, "text": part.text, "state": "done" if done else "streaming"}


def _call(step: Step, index: int, *, done: bool) -> dict[str, Any]:
    body = step.answer.body
    call, name = ui_chunks.tool_call(body, index)
    shown: dict[str, Any] = {"type": f"tool-{name}", "toolCallId": call}
    if not done:
        return {**shown, "state": "input-streaming"}
    arguments = body.parts[index].text
    try:
        shown["input"] = value_of(arguments)
    except ValueError:
        return {
            **shown,
            "state": "output-error",
            "input": arguments,
            "errorText": ui_chunks.NO_JSON,
        }
    output = step.outputs.get(call)
    if output is None:
        return {**shown, "state": "input-available"}
    if (output.meta or {}).get("error"):
        return {**shown, "state": "output-error", "errorText": _text(output)}
    return {**shown, "state": "output-available", "output": _output(output)}


def _question_parts(body: Body) -> Iterator[dict[str, Any]]:
    for part in body.parts:
        if is_text(part.kind):
            yield {"type": "text", "text": part.text}
        elif part.kind in media.KINDS:
            meta = part.meta or {}
            image = _IMAGE if part.kind == PartKind.IMAGE else "application/octet-stream"
            shown = {"type": "file", "mediaType": meta.get("type", image), "url": part.text}
            yield {**shown, **({"filename": meta["filename"]} if "filename" in meta else {})}
