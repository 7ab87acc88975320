"""OpenAI's Responses: background, resumption and cancellation for any model.

A response is an answer like any other: it belongs to a conversation, a worker writes it, it
outlives its client, and every other face shows it. The other way round, an answer that was asked in
any dialect is a response here: `GET /v1/responses/{id}` takes the id of its message, as it is or
with the prefix of a dialect.

**Events** have the number that `shared/numbering.py` derives from the text. So a client goes on
after any number it has seen, in whichever process and for as long as the answer is kept.
`response.created` has no output, and `response.completed` (or `failed`, or `incomplete`) has all of
it. An answer that was stopped ends with `response.incomplete`, and its status is `cancelled`: an
event of its own would be unknown to the SDKs.

**When a response begins** is as in `chat_completions.py`, but that a stream waits less: its first
event names the response, and a client that is cut before has nothing to come back with. What runs
in the background is answered at once.

**A cut** tears the connection: these clients take a clean end for the whole answer.
"""

import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from flask import Blueprint, Request, Response, request

from shared import numbering, sse
from shared.body import Body, Part
from shared.errors import Invalid, NotFound
from shared.lifecycle import Status
from shared.numbering import Event, Slot
from shared.parts import PartKind
from shared.store import branches, client_deletions, client_requests, messages, stopping
from shared.store.asking import NEWEST
from shared.store.messages import Message
from shared.store.threads import History
from web import aside, requests, responses
from web.asking import InThread
from web.auth import current_user, principal
from web.context import context
from web.dialects import gateway, openai_errors, openai_request, responses_request
from web.dialects import responses_resource as shape
from web.dialects.gateway import SameRequest
from web.dialects.responses_request import CreateResponse, Wanted
from web.following.face import NumberedFace
from web.following.message_topic import snapshot
from web.streams import message_response, opened_message, response_of
from web.wake_ups import wake_message, wake_sidebars

blueprint = Blueprint("responses", __name__, url_prefix="/v1/responses")

#: Seconds that the head of a stream waits for the answer's first text or its end. Most refusals of
#: a provider come within that.
HEAD_SECONDS: Final = 2.0
#: Seconds that a cancellation waits for the worker to end the answer.
CANCEL_SECONDS: Final = 5.0
#: Items of a page, unless the request says how many, and at most.
ITEMS, ITEMS_MAX = 20, 100
#: Numbers of events are below this: the longest body, with the most parts, has fewer.
BEYOND: Final = requests.BEYOND
#: Items that one request may refer to.
REFERENCES: Final = 256

# --- asking --------------------------------------------------------------------------------------


@blueprint.post("")
def create() -> Response:
    """The answer to `input`: whole, with `stream` as it is written, with `background` at once."""
    sent = requests.json_body(CreateResponse)
    named = _parts_of(responses_request.references(sent))
    wanted = aside.read(responses_request.wanted, sent, current_user(), lambda _: named)
    same = gateway.same_request(sent, gateway.CONVERSATION)
    try:
        asked = context().asker.ask(
            InThread(_history(wanted, same)),
            user_id=current_user(),
            model=sent.model,
            options=wanted.options,
            key=same.key,
            request_hash=same.request_hash,
            key_id=principal().key_id,
            request=wanted.request,
            in_background=sent.background,
        )
    except NotFound:
        if wanted.previous is None:
            raise
        raise _no_previous(wanted.previous) from None
    # It is committed. From here on a repeat joins it, so nothing is a refusal.
    try:
        response = _begin(sent, asked.answer, final=same.key is not None)
    except Exception as error:  # noqa: BLE001 - it is answered, and logged if it is a bug
        response = openai_errors.response_to(error)
    return gateway.named(response, asked.answer)


def _history(wanted: Wanted, same: SameRequest) -> History:
    above, conversation = None, None
    if wanted.previous is not None:
        above = shape.message_id(wanted.previous)
        if above is None:
            raise _no_previous(wanted.previous)
    elif wanted.conversation is None and (header := request.headers.get(gateway.CONVERSATION)):
        conversation = openai_request.conversation_id(header, gateway.CONVERSATION)
    name = wanted.conversation and wanted.conversation.removeprefix("conv_")
    return History(
        turns=wanted.turns,
        system=wanted.system,
        system_is_own=True,
        conversation_id=conversation,
        name=name,
        below=above or (NEWEST if name or conversation else None),
        repeat_hash=same.repeat_hash,
        is_repeat=same.is_repeat,
    )


def _no_previous(named: str) -> Invalid:
    return Invalid(
        f"There is no response {named[:100]!r} to continue.",
        param="previous_response_id",
        openai_code="previous_response_not_found",
    )


def _parts_of(names: Sequence[str]) -> Mapping[str, Part]:
    """The parts of this user's answers that items' ids name."""
    if len(names) > REFERENCES:
        raise Invalid(f"input: it refers to more than {REFERENCES} items.", param="input")
    named = {name: found for name in names if (found := shape.part_of(name))}
    user = current_user()
    wanted = {answer: user for answer, _ in named.values()}
    loaded = messages.load_all(context().db, wanted) if wanted else {}
    # Others may be there that are only shared with this user.
    there = {answer: found for answer, found in loaded.items() if found.user_id == user}
    return {
        name: there[answer].body.parts[index]
        for name, (answer, index) in named.items()
        if answer in there and index < len(there[answer].body.parts)
    }


def _begin(sent: CreateResponse, answer: Message, *, final: bool) -> Response:
    """The response to a question that is committed. `final`: the same request joins this one."""
    face = ResponseFace.of(answer)
    if sent.background:
        return response_of(opened_message(answer.id, face)) if sent.stream else _now(answer.id)
    if sent.stream:
        found = gateway.begun(answer, face, HEAD_SECONDS)
        if found is not None and not isinstance(found, Message):
            return response_of(found)
    else:
        found = gateway.ended(answer, face)
    if found is None:
        return openai_errors.again()
    if found.status == Status.ERROR and not found.body.length:
        return openai_errors.response_to_failure(found, final=final)
    return _reply(found)


# --- what there is -------------------------------------------------------------------------------


@blueprint.get("/<name>")
def retrieve(name: str) -> Response:
    """An answer as far as it is there, or with `stream` its events after `starting_after`."""
    _refuse_others("stream", "starting_after", "include_obfuscation")
    if _flag("include_obfuscation"):
        raise _invalid("include_obfuscation", "events are not padded here")
    if not _flag("stream"):
        return _now(_message_id(name))
    answer = messages.load_without_body(context().db, _message_id(name), current_user())
    face = ResponseFace.of(answer, _starting_after())
    return gateway.named(message_response(answer.id, face), answer)


@blueprint.post("/<name>/cancel")
def cancel(name: str) -> Response:
    """Stop an answer; it keeps what was written. One that has ended is returned as it is."""
    answer_id = _message_id(name)
    answer = messages.load_without_body(context().db, answer_id, current_user())
    face = ResponseFace.of(answer)
    stopping.stop(context().db, answer_id, current_user())
    wake_message(context().livelog, answer_id)
    wake_sidebars(context().livelog, current_user())
    gateway.ended(answer, face, CANCEL_SECONDS)
    return _now(answer_id)


@blueprint.delete("/<name>")
def delete(name: str) -> Response:
    """Stop an answer and forget it here; see `store/client_deletions.py`."""
    answer_id = _message_id(name)
    client_deletions.delete(context().db, answer_id, current_user())
    wake_message(context().livelog, answer_id)
    wake_sidebars(context().livelog, current_user())
    deleted = {"id": shape.response_id(answer_id), "object": "response", "deleted": True}
    return responses.json_reply(deleted)


@blueprint.get("/<name>/input_items")
def input_items(name: str) -> Response:
    """What was asked, from the root of its conversation on; the newest item first."""
    _refuse_others("limit", "order", "after")
    answer_id = _message_id(name)
    client_requests.load(context().db, answer_id, current_user())
    answer = messages.load_without_body(context().db, answer_id, current_user())
    order = request.args.get("order", "desc")
    if order not in ("asc", "desc"):
        raise _invalid("order", "it is asc or desc")
    page, more = _items(answer, order, request.args.get("after"), _limit())
    data = {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": more,
    }
    return gateway.named(responses.json_reply(data), answer)


def _items(
    answer: Message, order: str, after: str | None, limit: int
) -> tuple[list[dict[str, Any]], bool]:
    """Items above an answer, from the one after `after` on, and whether there are more.

    At most `limit`; fewer if their messages have PAGE_CHARS code points together.
    """
    db, user, root = context().db, current_user(), request.url_root.rstrip("/")
    places = branches.above(db, user, answer.conversation_id, answer.id)
    if order == "desc":
        places.reverse()
    if after is not None:
        named = shape.message_of_item(after)
        begin = next((n for n, one in enumerate(places) if one.message_id == named), len(places))
        places = places[begin:]
    found: list[dict[str, Any]] = []
    room = messages.PAGE_CHARS
    while places and (not found or (len(found) <= limit and room > 0)):
        turns, count = branches.first_of(db, user, places[: max(limit + 2, ITEMS)], room)
        room -= sum(place.chars for place in places[:count])
        places = places[count:]
        for turn in turns:
            items = list(shape.asked_items(turn, root))
            found += items if order == "asc" else reversed(items)
        if after is not None:
            found = _after(found, after)
            after = None
    if after is not None:  # it is on no page
        raise _no_such_item()
    return found[:limit], len(found) > limit or bool(places)


def _after(items: Sequence[dict[str, Any]], after: str) -> list[dict[str, Any]]:
    for number, item in enumerate(items):
        if item["id"] == after:
            return list(items[number + 1 :])
    raise _no_such_item()


def _no_such_item() -> Invalid:
    return _invalid("after", "there is no such item")


def _now(answer_id: uuid.UUID) -> Response:
    return _reply(snapshot(context().db, context().livelog, answer_id, current_user()))


def _reply(answer: Message) -> Response:
    asked = client_requests.load(context().db, answer.id, current_user())
    return gateway.named(responses.json_reply(shape.resource(answer, asked)), answer)


# --- parameters ----------------------------------------------------------------------------------


def _message_id(name: str) -> uuid.UUID:
    found = shape.message_id(name)
    if found is None:
        raise NotFound("There is no such response.")
    return found


def _refuse_others(*known: str) -> None:
    for name in request.args:
        if name not in known:
            raise _invalid(name[:100], "this call has no such parameter", "unknown_parameter")


def _invalid(param: str, why: str, code: str = "invalid_value") -> Invalid:
    return Invalid(f"{param}: {why}.", param=param, openai_code=code)


def _flag(name: str) -> bool:
    value = request.args.get(name, "false").lower()
    if value not in ("true", "false"):
        raise _invalid(name, "it is true or false")
    return value == "true"


def _starting_after() -> int:
    value = request.args.get("starting_after")
    if value is None:
        return numbering.NOTHING
    found = requests.position(value)
    if found is None or found == requests.END:
        raise _invalid("starting_after", "it is the sequence_number of an event")
    return found


def _limit() -> int:
    value = request.args.get("limit", str(ITEMS))
    found = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
    if not 1 <= found <= ITEMS_MAX:
        raise _invalid("limit", f"it is a number from 1 to {ITEMS_MAX}")
    return found


# --- the stream ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ResponseFace(NumberedFace):
    """The events of a response, in their official order."""

    answer: uuid.UUID
    #: what is said of the response from its beginning on, as JSON
    head: str
    background: bool
    #: the number of the last event that its reader has seen; it changes no frame
    after: int = field(default=numbering.NOTHING, compare=False)

    @classmethod
    def of(cls, answer: Message, after: int = numbering.NOTHING) -> "ResponseFace":
        """The face of one answer. Raises NotFound, also for one that was deleted here."""
        asked = client_requests.load(context().db, answer.id, current_user())
        head = shape.head(answer, asked)
        # All readers of an answer have one string: it may hold the schemas of many tools.
        return cls(answer.id, sys.intern(sse.to_json(head)), head["background"], after)

    def position(self, request: Request) -> int:  # noqa: ARG002
        """After the number that the request named."""
        return self.after

    def refusal(self, error: Exception) -> Response:
        """An error as these clients expect it."""
        return openai_errors.response_to(error)

    def cut(self, milliseconds: int) -> None:
        """Tear: a clean end would be taken for the end of the answer."""

    def event(self, body: Body, event: Event) -> bytes:
        """One event, whole."""
        if event.slot in numbering.RUNS:
            return self._run(event)
        part = body.parts[event.part]
        if not shape.is_shown(part.kind):
            return b""
        index = event.part - sum(not shape.is_shown(one.kind) for one in body.parts[: event.part])
        where = f'"output_index":{index}'
        if event.slot in (Slot.OPEN, Slot.CLOSE):
            return self._item(body, event, where)
        named = shape.item_id(self.answer, event.part, part.kind)
        where = f'"item_id":"{named}",{where}'
        if part.kind != PartKind.TOOL_CALL:
            where += ',"content_index":0'
            if event.slot in (Slot.OPEN_INNER, Slot.CLOSE_INNER):
                return _content_part(part, event, where)
        elif event.slot in (Slot.OPEN_INNER, Slot.CLOSE_INNER):
            return b""
        return _text(part, event, where)

    def finish(self, message: Message, number: int) -> bytes:
        """The whole response."""
        match shape.status_of(message):
            case shape.COMPLETED:
                kind = "response.completed"
            case "failed":
                kind = "response.failed"
            case _:
                kind = "response.incomplete"
        return self._whole(kind, number, shape.so_far(message))

    def _run(self, event: Event) -> bytes:
        if event.slot is Slot.RUNNING:
            status, kind = shape.IN_PROGRESS, "response.in_progress"
        else:
            status = "queued" if self.background else shape.IN_PROGRESS
            kind = "response.created"
        return self._whole(kind, event.number, shape.nothing_yet(status))

    def _whole(self, kind: str, number: int, so_far: Mapping[str, Any]) -> bytes:
        rest = sse.to_json(so_far)
        return _frame(kind, number, f'"response":{self.head[:-1]},{rest[1:]}')

    def _item(self, body: Body, event: Event, where: str) -> bytes:
        if event.slot is Slot.OPEN:
            kind, text, status = "response.output_item.added", "", shape.IN_PROGRESS
        else:
            text, status = body.parts[event.part].text, shape.COMPLETED
            kind = "response.output_item.done"
        item = sse.to_json(shape.item(self.answer, body, event.part, text, status))
        return _frame(kind, event.number, f'{where},"item":{item}')


def _frame(kind: str, number: int, fields: str) -> bytes:
    return sse.frame(kind, f'{{"type":"{kind}","sequence_number":{number},{fields}}}')


def _content_part(part: Part, event: Event, where: str) -> bytes:
    opens = event.slot is Slot.OPEN_INNER
    kind = "response.content_part.added" if opens else "response.content_part.done"
    content = sse.to_json(shape.content_part(part.kind, "" if opens else part.text))
    return _frame(kind, event.number, f'{where},"part":{content}')


#: Kind of a part -> name of its events of text.
_TEXTS: Final[Mapping[str, str]] = {
    PartKind.REASONING: "response.reasoning_text",
    PartKind.TOOL_CALL: "response.function_call_arguments",
}


def _text(part: Part, event: Event, where: str) -> bytes:
    """A piece of a text, or at its end the whole."""
    kind = _TEXTS.get(part.kind, "response.output_text")
    more = ',"logprobs":[]' if part.kind not in _TEXTS else ""
    if event.delta is not None:
        delta = encode_basestring_ascii(event.delta.text)
        return _frame(f"{kind}.delta", event.number, f'{where},"delta":{delta}{more}')
    text = encode_basestring_ascii(part.text)
    if part.kind != PartKind.TOOL_CALL:
        return _frame(f"{kind}.done", event.number, f'{where},"text":{text}{more}')
    name = encode_basestring_ascii((part.meta or {}).get("name") or "")
    return _frame(f"{kind}.done", event.number, f'{where},"name":{name},"arguments":{text}')
