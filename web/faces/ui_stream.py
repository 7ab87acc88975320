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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from flask import Blueprint, Request, Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from shared.errors import Invalid, NotFound, OutliveError
from shared.lifecycle import OPEN, TERMINAL
from shared.numbering import NOTHING, Slot
from shared.store import branches, messages, stopping
from shared.store.messages import Message
from web import requests, responses
from web.auth import current_user
from web.context import context
from web.dialects import gateway, ui_chats, ui_chunks, ui_messages
from web.dialects.ui_request import UIChat, UIStop, message_id
from web.following.face import BURST_BYTES, Face, Then, Written
from web.following.message_topic import MessageTopic, snapshot
from web.streams import message_response, opened_message, response_of
from web.wake_ups import wake_message, wake_sidebars

blueprint = Blueprint("ui_stream", __name__, url_prefix="/api/chat")

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
        return ui_chats.sentence(error)

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
    answer = ui_chats.ask(sent).answer
    # It is committed. A repeat joins it, and so does a page that comes back.
    face = UIFace(named=ui_chats.goes_on_in(sent), ends_cleanly=in_workflow)
    try:
        response = response_of(opened_message(answer.id, face))
    except Exception as error:  # noqa: BLE001 - it is answered, and logged if it is a bug
        response = ui_chats.sentence(error)
    return _named(response, answer)


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
        named = message_id(request.args["message"])
        if named is None:
            raise Invalid("message must be the id of an answer.", param="message")
        return message_response(named, UIFace())
    index = request.args.get("startIndex")
    if index is None:
        found = ui_chats.resumable(chat)
        if found is None:
            return Response(status=204)
        return _named(message_response(found[-1].id, _face_of(found)), found[-1])
    return _of_workflow(chat, rebuilds=index != "0")


def _of_workflow(name: str, *, rebuilds: bool) -> Response:
    """For a client that takes 204 for an error, and any end without `finish` for a cut."""
    found = _run(name) or ui_chats.resumable(name)
    if found is None:
        face = UIFace()
        return Response(_LONE_FINISH, content_type=face.content_type, headers=dict(face.headers))
    face = replace(_face_of(found), rebuilds=rebuilds, ends_cleanly=True)
    return _named(message_response(found[-1].id, face), found[-1])


def _run(name: str) -> Sequence[Message] | None:
    """The answer that has this id."""
    named = message_id(name)
    if named is None:
        return None
    try:
        found = messages.load_without_body(context().db, named, current_user())
    except NotFound:
        return None
    return ui_chats.with_steps(found)


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
    named = message_id(requests.json_body(UIStop).message_id)
    found = ui_chats.conversation(chat)
    if named is None or found is None:
        raise NotFound("There is no such message.")
    target = named
    branch = ui_chats.branch_of(found.id, limit=1)
    if branch and branch[-1].status in OPEN:
        steps = ui_messages.steps_of(ui_chats.with_steps(branch[-1]))
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
    found = ui_chats.conversation(chat)
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


for _kind in (OutliveError, ValidationError, HTTPException, Exception):
    blueprint.register_error_handler(_kind, ui_chats.sentence)
