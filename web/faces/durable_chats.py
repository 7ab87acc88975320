"""`useChat` on durable streams: what `@durable-streams/aisdk-transport` asks for, unmodified.

    POST /streams/chat                a question, or outputs of tools; 201 and where to read
    GET  /streams/chat/{id}/stream    where to read the newest answer; 204 if none is to be resumed

The transport asks here and reads the answer from the durable stream that `Location` names, with an
exact cursor: it goes on over cuts, deploys and failures while the page stays open, which `useChat`
does not do by itself. What is asked, and what `{id}` means, is as at `/api/chat`
(`dialects/ui_chats.py`).

The transport reads without the headers of its app. Where sign-in is required, that works with a
session's cookie and not with a bearer token.
"""

from flask import Blueprint, Response, jsonify, url_for

from shared.store.messages import Message
from web import requests
from web.dialects import gateway, ui_chats
from web.dialects.ui_request import UIChat

blueprint = Blueprint("durable_chats", __name__, url_prefix="/streams/chat")


@blueprint.post("")
def send() -> Response:
    """201 and the stream of the answer."""
    sent = requests.json_body(UIChat)
    answer = ui_chats.ask(sent).answer
    return _pointer(answer, 201, message=ui_chats.goes_on_in(sent))


@blueprint.get("/<path:chat>/stream")
def stream(chat: str) -> Response:
    """The stream of the newest answer from its beginning."""
    found = ui_chats.resumable(chat)
    if found is None:
        return Response(status=204)
    return _pointer(found[-1], 200, steps="all" if len(found) > 2 else None)


def _pointer(
    answer: Message, status: int, *, message: str | None = None, steps: str | None = None
) -> Response:
    where = url_for(
        "durable_streams.read_chunks", message_id=answer.id, message=message, steps=steps
    )
    response = jsonify({"streamUrl": where})
    response.status_code = status
    response.headers["Location"] = where
    return gateway.named(response, answer)
