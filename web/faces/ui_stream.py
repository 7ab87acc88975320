"""The AI SDK's chats: what `useChat` sends to and reads from `/api/chat`, unmodified.

    POST /api/chat                 a question, or outputs of tools; the answer as its response
    GET  /api/chat/{id}/stream     the newest answer again, for a page that comes back
    POST /api/chat/{id}/stop       stops a named answer; the client itself only closes its response
    GET  /api/chat/{id}            the messages, for a page that is opened

`{id}` is the client's own name of the chat, or the id of a conversation. Underneath are ordinary
runs, which no client ends by closing a response.

**Resuming.** The client names no place. It empties the message that `start` names and builds it
anew, so an answer is written from its beginning, under the id that it had; `start` and the text so
far go out together. A page that was hidden while its connection broke asks as late as it is shown
again and says nothing of what it has. So an answer that has ended is written again, too, for
REPLAYED after its end; later there is nothing to resume (204).

**A cursor.** Every event has an `id:`, which the client ignores. `outlive-fetch.js` brings it back
as `?message=<Outlive-Message-Id>&after=<id>` and is given exactly the rest.

**Tools.** An answer below outputs of tools goes on in the message that has the calls, as another
step: `start` names the id that the client has for it. A replay has all its steps.

**Endings.** A cut tears the response: the client takes a clean end for a complete answer.
`WorkflowChatTransport` is the other way about (a clean end without `finish` makes it come back, a
third torn response in a row is an error), so its responses are cut cleanly. It counts chunks, which
means nothing here: after `reset-step` it is given the whole step anew.

**Errors** are plain sentences, as the client shows the body of a refusal to its user as it is. The
code is in the header Outlive-Error.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from flask import Blueprint, Request, Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from shared.errors import Invalid, NotFound, OutliveError
from shared.lifecycle import OPEN, TERMINAL
from shared.numbering import NOTHING, Slot
from shared.store import branches, conversations, files, messages, stopping, threads
from shared.store.asking import NEWEST, Asked
from shared.store.messages import Message
from shared.store.threads import History
from shared.tool_calls import results_of
from web import errors, gateway, requests, responses, ui_chunks, ui_messages, ui_request
from web.asking import InThread, Retry
from web.auth import current_user, principal
from web.context import context
from web.following.face import BURST_BYTES, Face, Then, Written
from web.following.message_topic import MessageTopic, snapshot
from web.streams import message_response, opened_message, response_of
from web.ui_request import UIChat, UIStop
from web.wake_ups import wake_message, wake_sidebars

blueprint = Blueprint("ui_stream", __name__, url_prefix="/api/chat")

#: How long after its end an answer is written again to a page that comes back. As long as the
#: usual stores of resumable streams keep one.
REPLAYED: Final = timedelta(days=1)
#: Turns among which the first step of an answer is looked for.
STEPS: Final = 64
#: What WorkflowChatTransport sends, and the header that it wants.
WORKFLOW_TYPE: Final = "text/plain"
WORKFLOW_RUN: Final = "x-workflow-run-id"
_DONE: Final = b"data: [DONE]\n\n"
_RESET: Final = b'data: {"type":"reset-step"}\n\n'
_LONE_FINISH: Final = b'data: {"type":"finish"}\n\n' + _DONE


@dataclass(frozen=True)
class UIFace(Face[MessageTopic, int]):
    """UI chunks as events. A place is the number of the last chunk that was written."""

    #: the client's id of the message that the answer is, or goes on; None: the answer's own
    named: str | None = None
    #: events of earlier steps
    before: bytes = b""
    #: the client has some of the step, and builds it anew
    rebuilds: bool = False
    #: a cut ends the response cleanly
    ends_cleanly: bool = False

    start = NOTHING
    headers = {**Face.headers, "x-vercel-ai-ui-message-stream": "v1"}  # noqa: RUF012 - as its base

    def position(self, request: Request) -> int | None:
        """Last-Event-ID, or `?after=`: the number of the last event."""
        value = request.headers.get("Last-Event-ID", "").strip() or request.args.get("after", "")
        if not value:
            return self.start
        found = requests.position(value)
        if found is None or found == requests.END:
            raise Invalid("after must be the id of an event.", "invalid_position")
        return found

    def refusal(self, error: Exception) -> Response:
        """A sentence."""
        return sentence(error)

    def write(self, source: MessageTopic, place: int) -> Written[int]:
        """The chunks after `place`, and `[DONE]` after the last of them."""
        body, end = source.body, source.end
        written: list[bytes] = []
        if place == NOTHING and self.rebuilds:
            written.append(_RESET)
            place = Slot.RUNNING
        size = 0
        for number, data in ui_chunks.after(place, source.id, body, end):
            frame = self._begin(source) if number == Slot.RUN else _frame(number, data)
            written.append(frame)
            size += len(frame)
            place = number
            if size >= BURST_BYTES:
                return b"".join(written), place, Then.MORE
        if end is None:
            return b"".join(written), place, Then.WAIT
        return b"".join((*written, _DONE)), place, Then.ENDED

    def _begin(self, source: MessageTopic) -> bytes:
        named = encode_basestring_ascii(self.named or str(source.id))
        start = f'{{"type":"start","messageId":{named}}}'
        if not self.before:
            return _frame(Slot.RUN, start)
        # Who has only some of the earlier steps has seen nothing.
        return f"data: {start}\n\n".encode("ascii") + self.before + b"id: 0\n\n"

    def cut(self, milliseconds: int) -> bytes | None:  # noqa: ARG002
        """Tear, or not: see above."""
        return b"" if self.ends_cleanly else None

    def lag(self, source: MessageTopic, place: int) -> int:
        """Code points after `place`."""
        return max(0, source.body.length - max(place, 0))


def _frame(number: int, data: str) -> bytes:
    return f"data: {data}\nid: {number}\n\n".encode("ascii")


# --- asking --------------------------------------------------------------------------------------


@blueprint.post("")
def send() -> Response:
    """The answer to the last message, or another one (`trigger`), as it is written."""
    sent = requests.json_body(UIChat, as_text=True)
    in_workflow = request.mimetype == WORKFLOW_TYPE
    stored = files.load_own(context().db, current_user(), ui_request.file_ids(sent))
    said = ui_request.said(sent, current_user(), stored)
    answer = _asked(sent, said).answer
    # It is committed. A repeat joins it, and so does a page that comes back.
    goes_on = sent.last.role == "assistant" and not sent.regenerates
    face = UIFace(named=sent.last.id if goes_on else None, ends_cleanly=in_workflow)
    try:
        response = response_of(opened_message(answer.id, face))
    except Exception as error:  # noqa: BLE001 - it is answered, and logged if it is a bug
        response = sentence(error)
    return _named(response, answer)


def _asked(sent: UIChat, said: ui_request.Said) -> Asked:
    same = gateway.same_request(sent)
    submits = not sent.regenerates
    # The client's ids of messages are new for each click, unless the user edits a question.
    edits = sent.message_id is not None and sent.last.role == "user"
    history = History(
        turns=said.turns,
        system=said.system,
        name=sent.id,
        joins=submits,
        repeat_hash=same.repeat_hash,
        is_repeat=submits and not edits,
    )
    wanted: InThread | Retry = InThread(history)
    if sent.message is not None:
        if sent.id is None:
            raise Invalid("A message alone needs the id of its chat.")
        found = _retried(sent)
        below = replace(history, turns=said.turns[-1:], joins=False, below=NEWEST)
        wanted = InThread(below) if found is None else Retry(found)
    return context().asker.ask(
        wanted,
        user_id=current_user(),
        model=sent.model,
        options=sent.answers,
        key=same.key,
        request_hash=same.request_hash,
        key_id=principal().key_id,
    )


def _retried(sent: UIChat) -> uuid.UUID | None:
    """The answer beside which another one is wanted, where the client sends no history."""
    if not sent.regenerates:
        return None
    if sent.message_id is not None and (named := ui_messages.message_id(sent.message_id)):
        return named
    found = _conversation(sent.id or "")
    branch = _branch(found.id, limit=1) if found is not None else ()
    return branch[-1].id if branch else None


def _named(response: Response, answer: Message) -> Response:
    if response.status_code < 400:
        response.headers[WORKFLOW_RUN] = str(answer.id)
    return gateway.named(response, answer)


# --- coming back ---------------------------------------------------------------------------------


@blueprint.get("/<chat>/stream")
def stream(chat: str) -> Response:
    """The newest answer from its beginning; 204 where there is none to resume.

    `?message=` names an answer and `?after=` the last event that was read of it. `?startIndex=` is
    WorkflowChatTransport's, which has the id of an answer in the place of the chat's.
    """
    if "message" in request.args:
        named = ui_messages.message_id(request.args["message"])
        if named is None:
            raise Invalid("message must be the id of an answer.", param="message")
        return message_response(named, UIFace())
    index = request.args.get("startIndex")
    if index is None:
        found = _resumable(chat)
        if found is None:
            return Response(status=204)
        return _named(message_response(found[-1].id, _face_of(found)), found[-1])
    return _of_workflow(chat, rebuilds=index != "0")


def _of_workflow(name: str, *, rebuilds: bool) -> Response:
    """For a client that takes 204 for an error, and any end without `finish` for a cut."""
    found = _run(name) or _resumable(name)
    if found is None:
        face = UIFace()
        return Response(_LONE_FINISH, content_type=face.content_type, headers=dict(face.headers))
    face = replace(_face_of(found), rebuilds=rebuilds, ends_cleanly=True)
    return _named(message_response(found[-1].id, face), found[-1])


def _run(name: str) -> Sequence[Message] | None:
    """The answer that has this id."""
    message_id = ui_messages.message_id(name)
    if message_id is None:
        return None
    try:
        found = messages.load_without_body(context().db, message_id, current_user())
    except NotFound:
        return None
    return _with_steps(found)


def _resumable(chat: str) -> Sequence[Message] | None:
    """The newest answer of a chat, and what stands before it, if it is open or ended lately."""
    found = _conversation(chat)
    branch = _branch(found.id, limit=1) if found is not None else ()
    if not branch or branch[-1].role != "assistant":
        return None
    ended_at = branch[-1].ended_at
    if ended_at is not None and datetime.now(UTC) - ended_at > REPLAYED:
        return None
    return _with_steps(branch[-1])


def _with_steps(answer: Message) -> Sequence[Message]:
    """A branch that ends in this answer, as far as the first step of it reaches."""
    branch = _branch(answer.conversation_id, leaf=answer.id, limit=2)
    if branch and results_of(branch[0].body):
        branch = _branch(answer.conversation_id, leaf=answer.id, limit=STEPS)
    return branch or (answer,)


def _face_of(branch: Sequence[Message]) -> UIFace:
    """How the last answer of a branch is written to a client that has nothing, or begins anew."""
    *before, _ = steps = ui_messages.steps_of(branch)
    return UIFace(
        named=str(steps[0].answer.id) if before else None,
        before=ui_messages.frames_before(before),
    )


@blueprint.post("/<chat>/stop")
def stop(chat: str) -> Response:
    """202 with the answer and its status. Changes nothing if it has ended.

    `messageId`: Outlive-Message-Id, or the client's id of a message whose last step is meant.
    """
    named = ui_messages.message_id(requests.json_body(UIStop).message_id)
    found = _conversation(chat)
    if named is None or found is None:
        raise NotFound("There is no such message.")
    target = named
    branch = _branch(found.id, limit=1)
    if branch and branch[-1].status in OPEN:
        steps = ui_messages.steps_of(_with_steps(branch[-1]))
        if named in [step.answer.id for step in steps]:
            target = branch[-1].id
    stopping.stop(context().db, target, current_user())
    wake_message(context().livelog, target)
    wake_sidebars(context().livelog, current_user())
    status = messages.status(context().db, target, current_user())
    return responses.json_reply({"messageId": str(target), "status": status}, 202)


@blueprint.get("/<chat>")
def show(chat: str) -> Response:
    """The newest branch as UI messages: what `useChat` takes as its first messages.

    `active`: an answer is being written; it is the last message, as far as it is there. `earlier`:
    there are more messages before the first one. A chat that does not exist yet has none.
    """
    found = _conversation(chat)
    shown: dict[str, Any] = {"id": chat, "messages": [], "active": False, "earlier": False}
    if found is None:
        return responses.json_reply(shown)
    page = branches.turns(context().db, current_user(), found.id)
    branch = [turn.message for turn in page.turns]
    if branch and branch[-1].status not in TERMINAL:
        branch[-1] = snapshot(context().db, context().livelog, branch[-1].id, current_user())
    is_open = bool(branch) and branch[-1].status in OPEN
    ui = ui_messages.ui_messages(branch)
    shown |= {"messages": ui, "active": is_open, "earlier": page.above}
    return responses.json_reply(shown)


def _conversation(chat: str) -> conversations.Conversation | None:
    try:
        named = threads.id_of_name(context().db, current_user(), chat)
        return conversations.load(context().db, current_user(), named)
    except NotFound:
        return None


def _branch(
    conversation: uuid.UUID, leaf: uuid.UUID | None = None, *, limit: int
) -> Sequence[Message]:
    page = branches.turns(context().db, current_user(), conversation, leaf, limit=limit)
    return [turn.message for turn in page.turns]


# --- errors --------------------------------------------------------------------------------------


def sentence(error: Exception) -> Response:
    """What went wrong, for the person who reads it; its code and the rest are in the headers."""
    problem = errors.of_any(error)
    document: dict[str, Any] = problem.get_json(silent=True) or {}
    if not document:
        return problem
    response = Response(
        str(document["detail"]), problem.status_code, content_type="text/plain; charset=utf-8"
    )
    for name, value in problem.headers.items():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    response.headers["Outlive-Error"] = str(document["code"])
    return response


for _kind in (OutliveError, ValidationError, HTTPException, Exception):
    blueprint.register_error_handler(_kind, sentence)
