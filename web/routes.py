"""All blueprints, and the right that each of their endpoints asks for.

To change a route's right, change its row. `web/auth/gate.py` checks the row before the route runs.
An endpoint without a row is answered like an address that does not exist, and
`test_every_endpoint_has_a_right_and_every_right_an_endpoint` fails.
"""

from typing import Any, Final

from web import (
    account,
    audit_table,
    conversation_export,
    devices,
    dress,
    file_reading,
    health,
    push,
    reference,
    sharing,
    sign_in,
    views,
)
from web.auth import Right
from web.dialects import anthropic_errors, openai_errors, ui_chats
from web.errors import Handler
from web.faces import (
    ag_ui,
    anthropic,
    blocks,
    chat_completions,
    durable_chats,
    durable_streams,
    native,
    notices,
    responses,
    ui_stream,
)
from web.following.face import Face

BLUEPRINTS: Final = tuple(
    one.blueprint
    for one in (
        native,
        blocks,
        notices,
        chat_completions,
        responses,
        ag_ui,
        ui_stream,
        durable_streams,
        durable_chats,
        anthropic,
        health,
        views,
        reference,
        sign_in,
        sharing,
        account,
        conversation_export,
        push,
        dress,
        audit_table,
        file_reading,
        devices,
    )
)

#: The endpoints that answer with a stream, and the face of each.
STREAMS: Final[dict[str, Face[Any, Any]]] = {
    "native.stream": native.FACE,
    "blocks.stream": blocks.FACE,
    "notices.notices": notices.FACE,
}
#: Where errors have another form than ours, by the beginning of the address; longer ones first.
ERRORS: Final[dict[str, Handler]] = {
    "/v1/messages": anthropic_errors.response_to,
    "/streams/chat": ui_chats.sentence,
    "/v1/": openai_errors.response_to,
}
#: Endpoints that start an answer: they have a rate limit of their own (`web/rate_limits.py`).
ASKING: Final = frozenset(
    {
        "native.ask",
        "native.retry",
        "native.go_on",
        "native.put_in_line",
        "native.send_from_line",
        "chat_completions.create",
        "responses.create",
        "anthropic.create",
        "ag_ui.run",
        "ui_stream.send",
        "durable_chats.send",
    }
)
#: Endpoints without a rate limit: streams, whose number is limited, and files.
UNCOUNTED: Final = frozenset({"static", *STREAMS})

RIGHTS: Final[dict[str, Right]] = {
    # health.py
    "health.alive": Right.PUBLIC,
    "health.ready": Right.PUBLIC,
    "health.probe": Right.PUBLIC,
    "health.prometheus": Right.OPERATE,
    # views.py, and the files of the pages
    "static": Right.OPEN,
    "pages.sign_in": Right.OPEN,
    "pages.page": Right.USE,
    "pages.no_page": Right.USE,
    "pages.shared": Right.OPEN,
    "pages.dashboard": Right.WATCH,
    "pages.dashboard_state": Right.WATCH,
    # reference.py
    "reference.openapi": Right.USE,
    "reference.page": Right.USE,
    # sign_in.py
    "sign_in.sign_in": Right.OPEN,
    "sign_in.sign_out": Right.USE,
    "sign_in.change_password": Right.WRITE_OWN,
    "sign_in.begin_oidc": Right.OPEN,
    "sign_in.finish_oidc": Right.OPEN,
    # sharing.py
    "sharing.share": Right.WRITE_OWN,
    "sharing.list_shares": Right.READ_OWN,
    "sharing.revoke_share": Right.WRITE_OWN,
    "sharing.list_shared": Right.READ_SHARED,
    # account.py
    "account.export": Right.READ_OWN,
    "account.delete_user": Right.WRITE_OWN,
    # conversation_export.py
    "conversation_export.export_conversation": Right.READ_OWN,
    # push.py
    "push.show_push": Right.READ_OWN,
    "push.subscribe": Right.WRITE_OWN,
    "push.unsubscribe": Right.WRITE_OWN,
    # dress.py: browsers ask for these by themselves, without a session, too
    "dress.css": Right.OPEN,
    "dress.logo": Right.OPEN,
    "dress.manifest": Right.OPEN,
    "dress.service_worker": Right.OPEN,
    # audit_table.py
    "audit_table.read_audit": Right.OPERATE,
    # file_reading.py
    "file_reading.read_file": Right.READ_SHARED,
    # devices.py
    "devices.report": Right.WRITE_OWN,
    "devices.draw_code": Right.READ_SHARED,
    # faces/native.py
    "native.create_conversation": Right.WRITE_OWN,
    "native.list_conversations": Right.READ_OWN,
    "native.show_conversation": Right.READ_SHARED,
    "native.change_conversation": Right.WRITE_OWN,
    "native.delete_conversation": Right.WRITE_OWN,
    "native.undelete_conversation": Right.WRITE_OWN,
    "native.see_conversation": Right.WRITE_OWN,
    "native.show_place": Right.READ_OWN,
    "native.keep_place": Right.WRITE_OWN,
    "native.search_conversations": Right.READ_OWN,
    "native.list_models": Right.USE,
    "native.show_usage": Right.READ_OWN,
    "native.ask": Right.WRITE_OWN,
    "native.retry": Right.WRITE_OWN,
    "native.go_on": Right.WRITE_OWN,
    "native.show_line": Right.READ_OWN,
    "native.put_in_line": Right.WRITE_OWN,
    "native.change_in_line": Right.WRITE_OWN,
    "native.take_out_of_line": Right.WRITE_OWN,
    "native.send_from_line": Right.WRITE_OWN,
    "native.show_message": Right.READ_SHARED,
    "native.show_tape": Right.READ_SHARED,
    "native.stop": Right.WRITE_OWN,
    "native.stream": Right.READ_SHARED,
    # faces/blocks.py
    "blocks.stream": Right.READ_SHARED,
    "blocks.blocks": Right.READ_SHARED,
    "blocks.turns": Right.READ_SHARED,
    # faces/notices.py
    "notices.notices": Right.READ_OWN,
    "notices.older": Right.READ_OWN,
    # faces/chat_completions.py
    "chat_completions.create": Right.WRITE_OWN,
    "chat_completions.show": Right.READ_OWN,
    "chat_completions.list_messages": Right.READ_OWN,
    "chat_completions.list_models": Right.USE,
    "chat_completions.show_model": Right.USE,
    # faces/responses.py
    "responses.create": Right.WRITE_OWN,
    "responses.retrieve": Right.READ_OWN,
    "responses.cancel": Right.WRITE_OWN,
    "responses.delete": Right.WRITE_OWN,
    "responses.input_items": Right.READ_OWN,
    # faces/ag_ui.py
    "ag_ui.run": Right.WRITE_OWN,
    "ag_ui.read": Right.READ_OWN,
    "ag_ui.stop": Right.WRITE_OWN,
    # faces/ui_stream.py
    "ui_stream.send": Right.WRITE_OWN,
    "ui_stream.stream": Right.READ_OWN,
    "ui_stream.stop": Right.WRITE_OWN,
    "ui_stream.show": Right.READ_OWN,
    # faces/durable_streams.py
    "durable_streams.read_chunks": Right.READ_SHARED,
    "durable_streams.read_text": Right.READ_SHARED,
    # faces/anthropic.py
    "anthropic.create": Right.WRITE_OWN,
    "anthropic.nothing": Right.USE,
    # faces/durable_chats.py
    "durable_chats.send": Right.WRITE_OWN,
    "durable_chats.stream": Right.READ_OWN,
}
#: Endpoints that ask for no credential.
PUBLIC: Final = frozenset(name for name, right in RIGHTS.items() if right is Right.PUBLIC)
