"""What the API's document says of each endpoint, and which query parameters each one takes.

One row an endpoint, as in `web/routes.py`. An endpoint without a row fails
`test_every_endpoint_is_described`; None stands for what is no part of the API. The words are
explained in `web/contract/operation.py`. It is long because it is one table.
"""

from typing import Final

from pydantic import BaseModel

from shared.store.audit import Action
from web import audit_table, devices, schemas
from web.contract import shapes
from web.contract.operation import (
    ACCEPT,
    AFTER,
    BEFORE,
    CODE,
    CURSOR,
    EXPENSIVE,
    FORMAT,
    FORMAT_OF_ONE,
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    LAST_EVENT_ID,
    LAST_EVENT_ID_OF_REPEATED,
    LEAF,
    LEAF_OF_FILE,
    LIVE,
    NEXT,
    OFFSET,
    ON_DISCONNECT,
    POSITION,
    STATE,
    STORED,
    STREAM_CURSOR,
    USER_ID,
    WORDS,
    Operation,
    Other,
    Parameter,
    Schema,
    limit,
)
from web.contract.streams import ASKED, BLOCKS, MESSAGE, NOTICES
from web.faces import blocks, native, notices
from web.questions import IMAGES

_CONVERSATIONS: Final = "Conversations"
_MESSAGES: Final = "Messages"
_LINE: Final = "Questions in line"
_PAGE: Final = "Page"
_SIGN_IN: Final = "Sign-in"
_SHARING: Final = "Sharing"
_SERVICE: Final = "Service"

_COOKIES: Final = {"Set-Cookie": "The cookies of the session, set or removed."}
_REDIRECT: Final = {"Location": "Where the browser goes.", **_COOKIES}
#: A kind of row of the audit table.
_ACTION: Final = Parameter(
    "action",
    {"type": "string", "enum": [*Action]},
    "Only rows of this kind.",
    "invalid_action",
)
_ANY_OBJECT: Final[Schema] = {"type": "object"}
_BINARY: Final[Schema] = {"type": "string", "format": "binary"}
_CHUNKS: Final[Schema] = {"type": "array", "items": {"type": "object"}}


def _asking(summary: str, body: type[BaseModel], *codes: str, name: str = "") -> Operation:
    """A call that makes an answer; its response is the answer's stream for a client that wants it.

    What a stream answers with 200 is the same in a repeated request: 204 where the end was seen.
    """
    return Operation(
        tag="Asking",
        name=name,
        summary=summary,
        body=body,
        parameters=(IDEMPOTENCY_KEY, ON_DISCONNECT, ACCEPT, LAST_EVENT_ID_OF_REPEATED),
        answers={202: schemas.AskedShape, 200: ASKED, 204: None},
        headers={"Outlive-Message-Id": "The answer's id."},
        codes=(
            "answer_open",
            "idempotency_key_reused",
            "too_many_open",
            "budget_exhausted",
            "question_too_long",
            "max_tokens_too_large",
            *codes,
        ),
    )


def _durable(summary: str, content: Other) -> Operation:
    """A read of a durable stream, whose protocol is described elsewhere."""
    events = Other("For `live=sse`: the same, as events.", "text/event-stream", {"type": "string"})
    return Operation(
        tag="Durable streams",
        summary=summary,
        parameters=(OFFSET, LIVE, STREAM_CURSOR, IF_NONE_MATCH),
        answers={200: (content, events), 204: None, 304: None},
        headers={
            "Stream-Next-Offset": "The offset after what was read.",
            "Stream-Up-To-Date": "`true` if there is no more now.",
            "Stream-Closed": "`true` if there will never be more.",
            "Stream-Cursor": "What a client that lives on sends as `cursor`.",
        },
        codes=("gone", "too_many_streams", "busy"),
        ignores_unknown=True,
    )


OPERATIONS: Final[dict[str, Operation | None]] = {
    # --- faces/native.py: conversations
    "native.create_conversation": Operation(
        tag=_CONVERSATIONS,
        summary="Create a conversation",
        body=schemas.NewConversation,
        parameters=(IDEMPOTENCY_KEY,),
        answers={201: schemas.ConversationShape},
        codes=("idempotency_key_reused",),
    ),
    "native.list_conversations": Operation(
        tag=_CONVERSATIONS,
        summary="List conversations",
        parameters=(limit(native.PAGE, native.PAGE_MAX), CURSOR),
        answers={200: schemas.ConversationList},
    ),
    "native.show_conversation": Operation(
        tag=_CONVERSATIONS,
        summary="Read a conversation",
        parameters=(LEAF, BEFORE, limit(None, native.PAGE_MAX)),
        answers={200: shapes.BranchShape},
        codes=EXPENSIVE,
    ),
    "native.change_conversation": Operation(
        tag=_CONVERSATIONS,
        summary="Change a conversation's title or system text",
        body=schemas.ConversationChange,
        answers={200: schemas.ConversationShape},
    ),
    "native.delete_conversation": Operation(
        tag=_CONVERSATIONS, summary="Delete a conversation", answers={204: None}
    ),
    "native.undelete_conversation": Operation(
        tag=_CONVERSATIONS,
        summary="Bring a deleted conversation back",
        answers={200: schemas.ConversationShape},
    ),
    "native.see_conversation": Operation(
        tag=_CONVERSATIONS,
        summary="Mark answers as seen",
        body=schemas.SeenUpTo,
        answers={204: None},
    ),
    "native.show_place": Operation(
        tag=_CONVERSATIONS,
        summary="Read where you were in a conversation",
        answers={200: schemas.FoundPlaceShape},
    ),
    "native.keep_place": Operation(
        tag=_CONVERSATIONS,
        summary="Keep where you are in a conversation",
        body=schemas.PlaceBody,
        answers={204: None},
    ),
    "native.search_conversations": Operation(
        tag=_CONVERSATIONS,
        summary="Search",
        parameters=(WORDS, limit(native.HITS, native.HITS_MAX), CURSOR),
        answers={200: schemas.HitList},
        codes=EXPENSIVE,
    ),
    # --- faces/native.py: asking
    "native.ask": _asking(
        "Ask a question",
        schemas.Question,
        "invalid_parent",
        "invalid_content",
        "invalid_tool_results",
    ),
    "native.retry": _asking("Ask the same question again", schemas.AnswerRequest, "not_an_answer"),
    "native.go_on": _asking(
        "Continue an incomplete answer",
        schemas.AnswerRequest,
        "not_an_answer",
        "complete",
        name="continue_answer",
    ),
    "native.show_line": Operation(
        tag=_LINE, summary="Show the questions in line", answers={200: schemas.LineShape}
    ),
    "native.put_in_line": Operation(
        tag=_LINE,
        summary="Put a question in line",
        body=schemas.LineQuestion,
        parameters=(IDEMPOTENCY_KEY,),
        answers={201: schemas.LineShape},
        codes=(
            "line_full",
            "idempotency_key_reused",
            "question_too_long",
            "max_tokens_too_large",
        ),
    ),
    "native.change_in_line": Operation(
        tag=_LINE,
        summary="Change a question in line",
        body=schemas.LineChange,
        answers={200: schemas.LineShape},
        codes=("question_too_long",),
    ),
    "native.take_out_of_line": Operation(
        tag=_LINE, summary="Remove a question from the line", answers={204: None}
    ),
    "native.send_from_line": Operation(
        tag=_LINE,
        summary="Send a question of the line now",
        answers={202: schemas.AskedShape},
        codes=("answer_open", "too_many_open", "budget_exhausted"),
    ),
    # --- faces/native.py: messages
    "native.show_message": Operation(
        tag=_MESSAGES, summary="Read a message", answers={200: schemas.MessageShape}
    ),
    "native.show_tape": Operation(
        tag=_MESSAGES,
        name="read_tape",
        summary="Read by when how much of an answer was saved",
        answers={200: schemas.TapeShape},
    ),
    "native.stop": Operation(
        tag=_MESSAGES, summary="Stop an answer", answers={202: schemas.MessageShape}
    ),
    "native.stream": Operation(
        tag=_MESSAGES,
        name="stream_message",
        summary="Follow a message",
        parameters=(AFTER, LAST_EVENT_ID),
        answers={200: MESSAGE, 204: None},
        codes=("too_many_streams",),
        ignores_unknown=True,
    ),
    "file_reading.read_file": Operation(
        tag=_MESSAGES,
        summary="Read a file of a question",
        answers={
            200: (
                *(Other("An image.", name, _BINARY) for name in IMAGES),
                Other("Any other file.", "application/octet-stream", _BINARY),
            ),
            304: None,
        },
        headers={"ETag": "Stands for the content, which never changes."},
    ),
    # --- devices.py
    "devices.report": Operation(
        tag=_PAGE,
        name="report_device",
        summary="Say where a device is reading, and learn where the others are",
        body=devices.Report,
        answers={200: devices.DeviceList},
    ),
    "devices.draw_code": Operation(
        tag=_PAGE,
        name="draw_code",
        summary="Draw a code that opens a place in an answer",
        parameters=(POSITION,),
        answers={200: Other("A QR code.", "image/svg+xml", {"type": "string"})},
    ),
    # --- faces/blocks.py and faces/notices.py
    "blocks.stream": Operation(
        tag=_PAGE,
        name="stream_blocks",
        summary="Follow a message as HTML",
        parameters=(AFTER, LAST_EVENT_ID),
        answers={200: BLOCKS, 204: None},
        codes=("too_many_streams",),
        ignores_unknown=True,
    ),
    "blocks.blocks": Operation(
        tag=_PAGE,
        name="list_blocks",
        summary="Read a message as HTML",
        parameters=(AFTER,),
        answers={200: shapes.BlocksShape},
    ),
    "blocks.turns": Operation(
        tag=_PAGE,
        name="list_turns",
        summary="Read a conversation as HTML",
        parameters=(LEAF, BEFORE, limit(blocks.TURNS, blocks.TURNS_MAX)),
        answers={200: shapes.TurnsShape},
        codes=EXPENSIVE,
    ),
    "notices.notices": Operation(
        tag=_PAGE,
        name="stream_notices",
        summary="Follow the list of conversations",
        answers={200: NOTICES},
        codes=("too_many_streams",),
        ignores_unknown=True,
    ),
    "notices.older": Operation(
        tag=_PAGE,
        name="list_sidebar",
        summary="Read the list of conversations in pages",
        parameters=(limit(notices.PAGE, notices.PAGE_MAX), CURSOR),
        answers={200: shapes.EntryList},
    ),
    # --- faces/durable_streams.py
    "durable_streams.read_chunks": _durable(
        "Read a message as a durable stream",
        Other("A JSON array of the AI SDK's chunks.", "application/json", _CHUNKS),
    ),
    "durable_streams.read_text": _durable(
        "Read a message's text as a durable stream",
        Other("Text.", "text/plain", {"type": "string"}),
    ),
    # --- sign_in.py
    "sign_in.sign_in": Operation(
        tag=_SIGN_IN,
        summary="Sign in",
        body=schemas.SignInBody,
        answers={204: None},
        headers=_COOKIES,
        codes=("sign_in_failed", "not_found", "busy", *STORED),
    ),
    "sign_in.sign_out": Operation(
        tag=_SIGN_IN,
        summary="Sign out",
        body=schemas.SignOutBody,
        answers={204: None},
        headers=_COOKIES,
        codes=("no_session",),
    ),
    "sign_in.change_password": Operation(
        tag=_SIGN_IN,
        summary="Change your password",
        body=schemas.PasswordChange,
        answers={204: None},
        headers={"Set-Cookie": "The cookie by which the account knows this browser."},
        codes=("wrong_password", "invalid_password", "no_password", "no_session", "busy"),
    ),
    "sign_in.begin_oidc": Operation(
        tag=_SIGN_IN,
        name="sign_in_at_provider",
        summary="Sign in at an identity provider",
        parameters=(NEXT,),
        answers={302: None},
        headers=_REDIRECT,
        codes=("not_found",),
        ignores_unknown=True,
    ),
    "sign_in.finish_oidc": Operation(
        tag=_SIGN_IN,
        name="come_back_from_provider",
        summary="Come back from an identity provider",
        parameters=(CODE, STATE),
        answers={302: None},
        headers=_REDIRECT,
        codes=("not_found", *STORED),
        ignores_unknown=True,
    ),
    # --- sharing.py and account.py
    "sharing.share": Operation(
        tag=_SHARING,
        name="share_conversation",
        summary="Share a conversation",
        body=schemas.NewShare,
        answers={201: schemas.MadeShareShape},
        codes=("needs_sign_in", "no_such_user", "too_many_shares"),
    ),
    "sharing.list_shares": Operation(
        tag=_SHARING,
        summary="List the shares of a conversation",
        answers={200: schemas.ShareList},
    ),
    "sharing.revoke_share": Operation(tag=_SHARING, summary="Revoke a share", answers={204: None}),
    "sharing.list_shared": Operation(
        tag=_SHARING,
        summary="List what others share with you",
        answers={200: schemas.SharedList},
    ),
    "account.export": Operation(
        tag=_SERVICE,
        summary="Export everything of yours",
        parameters=(FORMAT,),
        answers={
            200: (
                Other("A JSON object a line.", "application/jsonl", {"type": "string"}),
                Other("All conversations, for people.", "text/markdown", {"type": "string"}),
            )
        },
        codes=("too_many_exports", *EXPENSIVE),
    ),
    "conversation_export.export_conversation": Operation(
        tag=_CONVERSATIONS,
        summary="Export a conversation",
        parameters=(FORMAT_OF_ONE, LEAF_OF_FILE),
        answers={
            200: (
                Other("Its messages, for people.", "text/markdown", {"type": "string"}),
                Other("The conversation, and its messages.", "application/json", _ANY_OBJECT),
            )
        },
        codes=("too_many_exports", *EXPENSIVE),
    ),
    "account.delete_user": Operation(
        tag=_SERVICE,
        summary="Delete everything of yours",
        body=schemas.Deletion,
        answers={204: None},
        codes=("needs_sign_in",),
    ),
    "push.show_push": Operation(
        tag=_PAGE,
        name="list_notified_browsers",
        summary="List the browsers that are notified",
        answers={200: schemas.PushShape},
    ),
    "push.subscribe": Operation(
        tag=_PAGE,
        name="notify_browser",
        summary="Notify a browser when answers are ready",
        body=schemas.NewSubscription,
        answers={201: schemas.SubscriptionShape},
        codes=("push_off", "invalid_endpoint", "invalid_push_keys"),
    ),
    "push.unsubscribe": Operation(
        tag=_PAGE,
        name="stop_notifying_browser",
        summary="Stop notifying a browser",
        answers={204: None},
    ),
    "audit_table.read_audit": Operation(
        tag=_SERVICE,
        summary="Read who did what",
        parameters=(limit(audit_table.PAGE, audit_table.PAGE_MAX), CURSOR, USER_ID, _ACTION),
        answers={200: schemas.AuditList},
    ),
    # --- the service
    "native.list_models": Operation(
        tag=_SERVICE, summary="List models", answers={200: shapes.ModelList}
    ),
    "native.show_usage": Operation(
        tag=_SERVICE,
        summary="Read what you used and may use",
        answers={200: schemas.UsageShape},
    ),
    "pages.dashboard_state": Operation(
        tag=_SERVICE,
        name="read_dashboard",
        summary="Read the dashboard's numbers",
        codes=EXPENSIVE,
        answers={
            200: Other(
                "Numbers, ids and codes. Their names may change with any version.",
                "application/json",
                _ANY_OBJECT,
            )
        },
    ),
    "health.alive": Operation(
        tag=_SERVICE,
        summary="Is the process alive?",
        answers={200: shapes.AliveShape},
        ignores_unknown=True,
    ),
    "health.ready": Operation(
        tag=_SERVICE,
        summary="Is the process ready?",
        answers={200: shapes.ReadyShape, 503: shapes.ReadyShape},
        ignores_unknown=True,
    ),
    "health.prometheus": Operation(
        tag=_SERVICE,
        name="read_metrics",
        summary="Read the metrics",
        answers={200: Other("Metrics in Prometheus' format.", "text/plain", {"type": "string"})},
        ignores_unknown=True,
    ),
    "reference.openapi": Operation(
        tag=_SERVICE,
        name="read_openapi",
        summary="Read this document",
        answers={200: Other("An OpenAPI 3.1 document.", "application/json", _ANY_OBJECT)},
    ),
    # --- described by OpenAI: docs/gateway.md says what is different
    "chat_completions.create": None,
    "chat_completions.show": None,
    "chat_completions.list_messages": None,
    "chat_completions.list_models": None,
    "chat_completions.show_model": None,
    # and docs/responses.md
    "responses.create": None,
    "responses.retrieve": None,
    "responses.cancel": None,
    "responses.delete": None,
    "responses.input_items": None,
    # --- described by AG-UI: docs/ag-ui.md says what is different
    "ag_ui.run": None,
    "ag_ui.read": None,
    "ag_ui.stop": None,
    # --- described by the AI SDK: docs/use-chat.md says what is different
    "ui_stream.send": None,
    "ui_stream.stream": None,
    "ui_stream.stop": None,
    "ui_stream.show": None,
    "durable_chats.send": None,
    "durable_chats.stream": None,
    # --- described by Anthropic: docs/anthropic.md says what is different
    "anthropic.create": None,
    "anthropic.nothing": None,
    # --- no part of the API: what `outlive doctor` uses, the pages and their files
    "health.probe": None,
    "static": None,
    "dress.css": None,
    "dress.logo": None,
    "dress.manifest": None,
    "dress.service_worker": None,
    "pages.page": None,
    "pages.no_page": None,
    "pages.sign_in": None,
    "pages.shared": None,
    "pages.dashboard": None,
    "reference.page": None,
}
