"""The routes, for `test_rights_of_routes.py`: what each asks for, and what it answers its owner."""

from typing import Any, Final, NamedTuple


class Row(NamedTuple):
    """One method of one endpoint."""

    endpoint: str
    method: str
    #: with the ids of things that belong to OWNER
    path: str
    #: "public", "open", "use", "shared", "read", "write", "operate"
    right: str
    owner: int
    #: where it differs from what the owner is answered
    other: int | None = None
    body: Any = None


ROWS: Final = (
    # First, as the rows that follow make more and more to export.
    Row("account.export", "GET", "/api/export", "read", 200),
    Row("conversation_export.export_conversation", "GET",
        "/api/conversations/{conversation}/export?format=json", "read", 200, 404),
    Row("health.alive", "GET", "/healthz", "public", 200),
    Row("health.ready", "GET", "/readyz", "public", 200),
    Row("health.probe", "GET", "/healthz/stream", "public", 404),  # without a doctor's token
    Row("health.prometheus", "GET", "/metrics", "operate", 200),
    Row("static", "GET", "/static/app.js", "open", 200),
    Row("pages.sign_in", "GET", "/sign-in", "open", 200),
    # whatever was right would count as an attempt, or end the caller's session
    Row("sign_in.sign_in", "POST", "/api/sign-in", "open", 422, body={}),
    Row("sign_in.begin_oidc", "GET", "/sign-in/oidc", "open", 404),
    Row("sign_in.finish_oidc", "GET", "/sign-in/oidc/callback", "open", 404),
    Row("sign_in.sign_out", "POST", "/api/sign-out", "use", 422, body={"everywhere": "yes"}),
    Row("sign_in.change_password", "POST", "/api/user/password", "write", 422, body={}),
    Row("pages.page", "GET", "/", "use", 200),
    Row("pages.page", "GET", "/c/{conversation}", "use", 200),
    Row("pages.no_page", "GET", "/c/nonsense", "use", 404),
    Row("pages.shared", "GET", "/s", "open", 200),
    Row("pages.shared", "GET", "/s/{conversation}", "open", 200),
    Row("pages.dashboard", "GET", "/live", "operate", 200),
    Row("pages.dashboard_state", "GET", "/api/live", "operate", 200),
    Row("native.create_conversation", "POST", "/api/conversations", "write", 201, body={}),
    Row("native.list_conversations", "GET", "/api/conversations", "read", 200),
    Row("native.show_conversation", "GET", "/api/conversations/{conversation}", "shared", 200, 404),
    Row("native.change_conversation", "PATCH", "/api/conversations/{conversation}", "write", 200,
        404, {"title": "x"}),
    Row("native.delete_conversation", "DELETE", "/api/conversations/{conversation}", "write", 204,
        404),
    Row("native.undelete_conversation", "POST", "/api/conversations/{conversation}/undelete",
        "write", 200, 404),
    Row("native.see_conversation", "POST", "/api/conversations/{conversation}/seen", "write", 204,
        404, {"message_id": "{answer}"}),
    Row("native.show_place", "GET", "/api/conversations/{conversation}/place", "read", 200, 404),
    Row("native.keep_place", "PUT", "/api/conversations/{conversation}/place", "write", 204, 404,
        {"message_id": "{answer}", "position": 1}),
    Row("native.search_conversations", "GET", "/api/search?q=why", "read", 200),
    Row("native.list_models", "GET", "/api/models", "use", 200),
    Row("native.show_usage", "GET", "/api/usage", "read", 200),
    Row("reference.openapi", "GET", "/api/openapi.json", "use", 200),
    Row("reference.page", "GET", "/api/docs", "use", 200),
    Row("native.ask", "POST", "/api/conversations/{conversation}/messages", "write", 202, 404,
        {"content": "Why?"}),
    Row("native.retry", "POST", "/api/messages/{answer}/retry", "write", 202, 404, {}),
    Row("native.go_on", "POST", "/api/messages/{answer}/continue", "write", 202, 404, {}),
    Row("native.show_line", "GET", "/api/conversations/{conversation}/line", "read", 200, 404),
    Row("native.put_in_line", "POST", "/api/conversations/{conversation}/line", "write", 201, 404,
        {"content": "Why?"}),
    Row("native.change_in_line", "PATCH", "/api/conversations/{conversation}/line/{waiting}",
        "write", 200, 404, {"content": "How?"}),
    Row("native.send_from_line", "POST",
        "/api/conversations/{conversation}/line/{waiting}/send", "write", 202, 404),
    Row("native.take_out_of_line", "DELETE",
        "/api/conversations/{conversation}/line/{waiting}", "write", 204, 404),
    Row("native.show_message", "GET", "/api/messages/{answer}", "shared", 200, 404),
    Row("file_reading.read_file", "GET", "/api/files/{file}", "shared", 200, 404),
    Row("native.show_tape", "GET", "/api/messages/{answer}/tape", "shared", 200, 404),
    Row("devices.report", "POST", "/api/devices", "write", 200,
        body={"device": "00000000-0000-4000-8000-00000000d001", "message_id": "{answer}",
              "position": 1}),
    Row("devices.draw_code", "GET", "/api/messages/{answer}/code?position=1", "shared", 200, 404),
    Row("native.stop", "POST", "/api/messages/{answer}/stop", "write", 202, 404),
    Row("native.stream", "GET", "/api/messages/{answer}/stream", "shared", 200, 404),
    Row("blocks.stream", "GET", "/api/messages/{answer}/blocks/stream", "shared", 200, 404),
    Row("blocks.blocks", "GET", "/api/messages/{answer}/blocks", "shared", 200, 404),
    Row("blocks.turns", "GET", "/api/conversations/{conversation}/turns", "shared", 200, 404),
    Row("notices.notices", "GET", "/api/notices", "read", 200),
    Row("notices.older", "GET", "/api/sidebar", "read", 200),
    Row("sharing.share", "POST", "/api/conversations/{conversation}/shares", "write", 201, 404, {}),
    Row("sharing.list_shares", "GET", "/api/conversations/{conversation}/shares", "read", 200, 404),
    Row("sharing.revoke_share", "DELETE", "/api/shares/{share}", "write", 204, 404),
    Row("sharing.list_shared", "GET", "/api/shared", "shared", 200),
    Row("push.show_push", "GET", "/api/push", "read", 200),
    Row("push.subscribe", "POST", "/api/push", "write", 422, body={}),
    Row("push.unsubscribe", "DELETE", "/api/push/{notified}", "write", 204, 404),
    Row("dress.css", "GET", "/dress.css", "open", 404),  # nothing is set
    Row("dress.logo", "GET", "/logo", "open", 404),
    Row("dress.manifest", "GET", "/manifest.webmanifest", "open", 200),
    Row("dress.service_worker", "GET", "/service-worker.js", "open", 200),
    Row("audit_table.read_audit", "GET", "/api/audit", "operate", 200),
    Row("durable_streams.read_chunks", "GET", "/streams/{answer}", "shared", 200, 404),
    Row("durable_streams.read_text", "GET", "/streams/{answer}/text", "shared", 200, 404),
    Row("chat_completions.create", "POST", "/v1/chat/completions", "write", 400, body={}),
    Row("chat_completions.show", "GET", "/v1/chat/completions/{answer}", "read", 200, 404),
    Row("chat_completions.list_messages", "GET", "/v1/chat/completions/chatcmpl-{answer}/messages",
        "read", 200, 404),
    Row("chat_completions.list_models", "GET", "/v1/models", "use", 200),
    Row("chat_completions.show_model", "GET", "/v1/models/scripted", "use", 200),
    Row("durable_chats.send", "POST", "/streams/chat", "write", 422, body={}),
    Row("durable_chats.stream", "GET", "/streams/chat/none/stream", "read", 204),
    Row("ui_stream.send", "POST", "/api/chat", "write", 422, body={}),
    Row("ui_stream.stream", "GET", "/api/chat/none/stream", "read", 204),
    Row("ui_stream.stop", "POST", "/api/chat/{conversation}/stop", "write", 202, 404,
        {"messageId": "{answer}"}),
    Row("ui_stream.show", "GET", "/api/chat/{conversation}", "read", 200),
    Row("responses.create", "POST", "/v1/responses", "write", 400, body={}),
    Row("responses.retrieve", "GET", "/v1/responses/{answer}", "read", 200, 404),
    Row("responses.input_items", "GET", "/v1/responses/{answer}/input_items", "read", 200, 404),
    Row("responses.cancel", "POST", "/v1/responses/{answer}/cancel", "write", 200, 404),
    Row("responses.delete", "DELETE", "/v1/responses/{answer}", "write", 200, 404),
    # faces/ag_ui.py
    Row("ag_ui.run", "POST", "/ag-ui", "write", 422, body={}),
    Row("ag_ui.read", "GET", "/ag-ui?threadId={conversation}", "read", 200),
    Row("ag_ui.stop", "POST", "/ag-ui/stop", "write", 202, 404, {"runId": "{answer}"}),
    # faces/anthropic.py
    Row("anthropic.create", "POST", "/v1/messages", "write", 400, body={}),
    Row("anthropic.nothing", "POST", "/v1/messages/count_tokens", "use", 404, body={}),
    Row("anthropic.nothing", "GET", "/v1/messages/batches", "use", 404),
    Row("anthropic.nothing", "DELETE", "/v1/messages/batches/one", "use", 404),
    # Everybody here is needed for the next row; that it works is in test_account.py.
    Row("account.delete_user", "POST", "/api/user/delete", "write", 422),
)  # fmt: skip

#: What the owner is refused.
CODES: Final = {400: "missing_required_parameter", 404: "not_found", 422: "invalid"}
