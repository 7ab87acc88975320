"""The native face: conversations and messages as JSON, and a message as a stream of events."""

import uuid
from functools import partial
from json.encoder import encode_basestring_ascii
from operator import attrgetter

from flask import Blueprint, Request, Response, jsonify, request

from shared import sse
from shared.body import Body, Delta
from shared.store import branches, conversations, line, places, search, stopping, tapes, token_use
from shared.store.asking import NEWEST, Asked
from shared.store.messages import PAGE_CHARS, Message
from shared.store.places import Point
from shared.text import normalise
from web import event_source, paging, questions, requests, responses, schemas
from web.asking import Continue, NewQuestion, Retry, Wanted, check_question, token_limits
from web.auth import current_user, principal
from web.context import context
from web.event_source import EventSourceFace
from web.following.face import MessageFace
from web.following.message_topic import MessageTopic, snapshot
from web.following.streaming import RETRY_BROKEN, jittered
from web.streams import message_response
from web.wake_ups import wake_message, wake_sidebars

blueprint = Blueprint("native", __name__, url_prefix="/api")

#: Items of a page, unless the request says how many, and at most: of a list, and of a search.
PAGE, PAGE_MAX = 50, 200
HITS, HITS_MAX = 20, 50
#: How a question may be answered. A client that has no preference gets the first.
EVENTS = "text/event-stream"
ACCEPTED = ("application/json", EVENTS)

# --- conversations -------------------------------------------------------------------------------


@blueprint.post("/conversations")
def create_conversation() -> Response:
    """201 with an empty conversation; the same one for the same Idempotency-Key."""
    new = requests.json_body(schemas.NewConversation)
    made = conversations.create(
        context().db,
        current_user(),
        new.title,
        new.system,
        key=requests.idempotency_key(),
        request_hash=requests.request_hash(request.path, new),
    )
    wake_sidebars(context().livelog, current_user())
    return responses.reply(schemas.ConversationShape.of(made), 201)


@blueprint.get("/conversations")
def list_conversations() -> Response:
    """A page of conversations, newest first."""
    fetch = partial(conversations.newest, context().db, current_user())
    found, cursor = paging.page(fetch, attrgetter("seq"), default=PAGE, most=PAGE_MAX)
    items = [schemas.ConversationShape.of(one) for one in found]
    shape = schemas.ConversationList(items=items, next=cursor)
    return responses.json_reply(shape.model_dump(mode="json"))


@blueprint.get("/conversations/<uuid:conversation_id>")
def show_conversation(conversation_id: uuid.UUID) -> Response:
    """A conversation with one branch: that of `?leaf=`, by default of the newest message.

    `?limit=` gives only its last messages, `?before=` those above one of them. A response never has
    more than PAGE_CHARS of text.
    """
    db, user = context().db, current_user()
    limit = paging.limit(PAGE_MAX, PAGE_MAX) if "limit" in request.args else None
    found = conversations.load(db, user, conversation_id)
    leaf, before = requests.identifier("leaf"), requests.identifier("before")
    page = branches.turns(db, user, conversation_id, leaf, before=before, limit=limit)
    shape = schemas.ConversationShape.of(found).model_dump(mode="json")
    turns = [schemas.turn_json(turn, PAGE_CHARS) for turn in page.turns]
    detail = {**shape, "messages": turns}
    if page.above or limit is not None or before is not None:
        detail["earlier"] = turns[0]["id"] if page.above else None
    return responses.json_reply(detail)


@blueprint.patch("/conversations/<uuid:conversation_id>")
def change_conversation(conversation_id: uuid.UUID) -> Response:
    """The conversation with its new title or system text."""
    changes = requests.json_body(schemas.ConversationChange).model_dump(exclude_unset=True)
    found = conversations.change(context().db, current_user(), conversation_id, **changes)
    wake_sidebars(context().livelog, current_user())
    return responses.reply(schemas.ConversationShape.of(found))


@blueprint.delete("/conversations/<uuid:conversation_id>")
def delete_conversation(conversation_id: uuid.UUID) -> Response:
    """204. Its answers are stopped, and their readers get `end`."""
    for message_id in conversations.delete(context().db, current_user(), conversation_id):
        wake_message(context().livelog, message_id)
    wake_sidebars(context().livelog, current_user())
    return Response(status=204)


@blueprint.post("/conversations/<uuid:conversation_id>/undelete")
def undelete_conversation(conversation_id: uuid.UUID) -> Response:
    """The conversation, restored; 404 if it was purged or is due to be."""
    found = conversations.undelete(context().db, current_user(), conversation_id)
    wake_sidebars(context().livelog, current_user())
    return responses.reply(schemas.ConversationShape.of(found))


@blueprint.post("/conversations/<uuid:conversation_id>/seen")
def see_conversation(conversation_id: uuid.UUID) -> Response:
    """204. Answers that have ended there count as seen, on every device."""
    seen = requests.json_body(schemas.SeenUpTo).message_id
    if conversations.mark_seen(context().db, current_user(), conversation_id, seen):
        wake_sidebars(context().livelog, current_user())
    return Response(status=204)


@blueprint.get("/conversations/<uuid:conversation_id>/place")
def show_place(conversation_id: uuid.UUID) -> Response:
    """Where you were in it, on whichever device; `place` is null if that is not known."""
    found = places.load(context().db, current_user(), conversation_id)
    return responses.reply(schemas.FoundPlaceShape.of(found))


@blueprint.put("/conversations/<uuid:conversation_id>/place")
def keep_place(conversation_id: uuid.UUID) -> Response:
    """204: it is kept, unless a place is known that was read later."""
    body = requests.json_body(schemas.PlaceBody)
    at = Point(body.message_id, body.position)
    end = at if body.end is None else Point(body.end.message_id, body.end.position)
    places.keep(context().db, current_user(), conversation_id, at, end, read_at=body.read_at)
    return Response(status=204)


@blueprint.get("/search")
def search_conversations() -> Response:
    """Conversations in which every word of `?q=` is, most recently active first."""
    words = normalise(request.args.get("q", ""))
    fetch = paging.fetching_one_more(partial(search.search, context().db, current_user(), words))
    hits, cursor = paging.page(fetch, attrgetter("place"), default=HITS, most=HITS_MAX)
    items = [schemas.HitShape.of(hit) for hit in hits]
    return responses.reply(schemas.HitList(items=items, next=cursor))


@blueprint.get("/models")
def list_models() -> Response:
    """The provider's models, the one of this service first."""
    return jsonify(context().models.listed())


@blueprint.get("/usage")
def show_usage() -> Response:
    """The tokens that the user, and the service key that asks, used and may use."""
    limits = token_limits(context().settings)
    found = token_use.use_of(context().db, limits, current_user(), principal().key_id)
    return responses.reply(schemas.UsageShape.of(found))


# --- asking --------------------------------------------------------------------------------------


@blueprint.post("/conversations/<uuid:conversation_id>/messages")
def ask(conversation_id: uuid.UUID) -> Response:
    """202 with the question and the answer's placeholder; or the stream itself, see `_ask`."""
    question = requests.json_body(schemas.Question)
    parent = question.parent_id if question.names_parent else NEWEST
    content = questions.written(
        current_user(), question.content, question.parts, question.tool_results
    )
    return _ask(NewQuestion(conversation_id, content.body, parent, content.files), question)


@blueprint.post("/messages/<uuid:message_id>/retry")
def retry(message_id: uuid.UUID) -> Response:
    """202 with the same question and another answer beside the old one."""
    return _ask(Retry(message_id), requests.json_body(schemas.AnswerRequest))


@blueprint.post("/messages/<uuid:message_id>/continue")
def go_on(message_id: uuid.UUID) -> Response:
    """202 with a question that asks to go on, and its answer, which says what it continues."""
    return _ask(Continue(message_id), requests.json_body(schemas.AnswerRequest))


def _ask(wanted: Wanted, sent: schemas.AnswerRequest) -> Response:
    """Ask; to a client that prefers events the answer's stream, else 202 with both messages.

    Whatever refuses the question is a problem document in either case.
    """
    key = requests.idempotency_key()
    asked = context().asker.ask(
        wanted,
        user_id=current_user(),
        model=sent.model,
        options=sent.options.passed(),
        key=key,
        request_hash=requests.request_hash(request.path, sent) if key is not None else None,
        key_id=principal().key_id,
    )
    if request.accept_mimetypes.best_match(ACCEPTED) == EVENTS:
        response = message_response(asked.answer.id, AskedFace(asked))
    else:
        response = responses.reply(schemas.AskedShape.of(asked), 202)
    response.headers["Outlive-Message-Id"] = str(asked.answer.id)
    return response


# --- questions in line ---------------------------------------------------------------------------


@blueprint.get("/conversations/<uuid:conversation_id>/line")
def show_line(conversation_id: uuid.UUID) -> Response:
    """The questions that wait for the end of the answers before them, in order."""
    found = line.read(context().db, current_user(), conversation_id)
    return responses.reply(schemas.LineShape.of(found))


@blueprint.post("/conversations/<uuid:conversation_id>/line")
def put_in_line(conversation_id: uuid.UUID) -> Response:
    """201 with the line, in which the question is the last. If no answer is being written, and the
    newest one did not fail, it is asked at once."""
    question = requests.json_body(schemas.LineQuestion)
    check_question(context().settings, len(question.content), question.options.passed())
    key = requests.idempotency_key()
    new = line.NewInLine(
        question.content,
        question.model,
        question.options.passed(),
        key,
        requests.request_hash(request.path, question) if key is not None else None,
        principal().key_id,
    )
    line.add(context().db, current_user(), conversation_id, new)
    return _moved(conversation_id, 201)


@blueprint.patch("/conversations/<uuid:conversation_id>/line/<uuid:question_id>")
def change_in_line(conversation_id: uuid.UUID, question_id: uuid.UUID) -> Response:
    """The line, with another text of one of its questions; 404 if that has been sent."""
    content = requests.json_body(schemas.LineChange).content
    check_question(context().settings, len(content), {})
    line.change(context().db, current_user(), conversation_id, question_id, content)
    return _moved(conversation_id, 200)


@blueprint.delete("/conversations/<uuid:conversation_id>/line/<uuid:question_id>")
def take_out_of_line(conversation_id: uuid.UUID, question_id: uuid.UUID) -> Response:
    """204; 404 if it has been sent."""
    line.remove(context().db, current_user(), conversation_id, question_id)
    wake_sidebars(context().livelog, current_user())
    return Response(status=204)


@blueprint.post("/conversations/<uuid:conversation_id>/line/<uuid:question_id>/send")
def send_from_line(conversation_id: uuid.UUID, question_id: uuid.UUID) -> Response:
    """202 with the question and the answer's placeholder: it waits no longer."""
    asked = context().lines.send_now(
        current_user(), conversation_id, question_id, key_id=principal().key_id
    )
    return responses.reply(schemas.AskedShape.of(asked), 202)


def _moved(conversation_id: uuid.UUID, status: int) -> Response:
    """The line after a change, which may have given it its turn."""
    context().lines.move(conversation_id)
    wake_sidebars(context().livelog, current_user())
    found = line.read(context().db, current_user(), conversation_id)
    return responses.reply(schemas.LineShape.of(found), status)


# --- messages ------------------------------------------------------------------------------------


@blueprint.get("/messages/<uuid:message_id>")
def show_message(message_id: uuid.UUID) -> Response:
    """A message; while it is written, as far as it is published."""
    return responses.json_reply(schemas.message_json(_snapshot(message_id)))


@blueprint.get("/messages/<uuid:message_id>/tape")
def show_tape(message_id: uuid.UUID) -> Response:
    """By when how much of an answer was saved, and what happened meanwhile."""
    found = tapes.load(context().db, message_id, current_user())
    own = found.user_id == current_user()
    return responses.reply(schemas.TapeShape.of(message_id, found, own=own))


@blueprint.post("/messages/<uuid:message_id>/stop")
def stop(message_id: uuid.UUID) -> Response:
    """202 with the message as it is now; changes nothing if it has ended."""
    stopping.stop(context().db, message_id, current_user())
    wake_message(context().livelog, message_id)
    wake_sidebars(context().livelog, current_user())
    return responses.json_reply(schemas.message_json(_snapshot(message_id)), 202)


def _snapshot(message_id: uuid.UUID) -> Message:
    return snapshot(context().db, context().livelog, message_id, current_user())


# --- the stream ----------------------------------------------------------------------------------


class NativeFace(EventSourceFace[MessageTopic, int], MessageFace):
    """`delta` events, whose id is the position after them, and an `end`."""

    def position(self, request: Request) -> int | None:  # noqa: ARG002
        """Last-Event-ID, else `?after=`."""
        return event_source.position()

    def stretch(self, body: Body, delta: Delta) -> bytes:  # noqa: ARG002
        """One frame; its id is the position after it."""
        # Put together by hand: most of what web writes are frames of one token, and encoding a dict
        # takes four times as long.
        kind = encode_basestring_ascii(delta.kind)  # another version's may have any character
        text = encode_basestring_ascii(delta.text)
        meta = f',"meta":{sse.to_json(dict(delta.meta))}' if delta.meta else ""
        data = f'{{"start":{delta.start},"part":{delta.part},"kind":{kind},"text":{text}{meta}}}'
        return sse.frame("delta", data, delta.end)

    def end(self, message: Message) -> bytes:
        """The `end` event."""
        return event_source.encode_end(message)

    def __eq__(self, other: object) -> bool:
        """All write the same frames, and share them."""
        return isinstance(other, NativeFace)

    def __hash__(self) -> int:
        return hash(NativeFace)


class AskedFace(NativeFace):
    """The same as the response to a question: an `accepted` event with both messages comes first.

    The question is committed by now, so nothing that happens from here on may look as if it were
    not. A client that is cut, or whose stream cannot begin, resumes on the message's own stream.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def position(self, request: Request) -> int | None:
        """The beginning. A repeated request may say how far it has read; a new answer cannot have
        been read, so a header that is left over from another one is ignored."""
        return self.start if self._asked.fresh else super().position(request)

    def open(self, source: MessageTopic, place: int) -> tuple[bytes, int]:
        """When to come back, and `accepted`."""
        opening, place = super().open(source, place)
        return opening + self._accepted(), place

    def refusal(self, error: Exception) -> Response:  # noqa: ARG002
        """`accepted` and an end: the message's own stream says what is wrong."""
        frames = sse.retry(jittered(RETRY_BROKEN)) + self._accepted()
        return Response(frames, content_type=self.content_type, headers=dict(self.headers))

    def _accepted(self) -> bytes:
        # Without an id, which would be the position of a client that has read further. Without the
        # answer's text, which a repeated request gets from the stream, once.
        data = {
            "user": schemas.message_json(self._asked.question),
            "assistant": schemas.message_json(self._asked.answer, most=0),
        }
        return sse.encode("accepted", data)


FACE = NativeFace()


@blueprint.get("/messages/<uuid:message_id>/stream")
def stream(message_id: uuid.UUID) -> Response:
    """The message from a position to its end; 204 to a client that has seen the end."""
    return message_response(message_id, FACE)
