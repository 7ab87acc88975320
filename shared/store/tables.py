"""The tables, as the migrations make them (a test compares the two)."""

import uuid
from typing import Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.lifecycle import Status
from shared.store.status_sql import OPEN_STATUSES

#: The one user of `OUTLIVE_AUTH=local`; the first migration makes it.
LOCAL_USER: Final = uuid.UUID("00000000-0000-4000-8000-000000000001")

metadata = MetaData()

_NOW = text("clock_timestamp()")
_OPEN = text(f"status IN {OPEN_STATUSES}")
_ENDED = text("role = 'assistant' AND ended_at IS NOT NULL")


def _moment(name: str, *, required: bool = False) -> Column[object]:
    default = _NOW if required else None
    return Column(name, DateTime(timezone=True), nullable=not required, server_default=default)


def _user(*, key: bool = False) -> Column[object]:
    cascade = ForeignKey("users.id", ondelete="CASCADE")
    return Column("user_id", Uuid, cascade, nullable=False, primary_key=key)


users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    _moment("created_at", required=True),
    # the host product's or the identity provider's name for them
    Column("issuer", Text),
    Column("subject", Text),
    # an account of this service: lower case, and argon2id's encoded hash
    Column("login", Text),
    Column("password_hash", Text),
    Column("operator", Boolean, nullable=False, server_default=text("false")),
    _moment("disabled_at"),
    # when their deletion began, and when nothing of theirs was left; the row goes a month later
    _moment("deleted_at"),
    _moment("purged_at"),
    # budgets of tokens; NULL is the deployment's default
    Column("daily_tokens", BigInteger),
    Column("monthly_tokens", BigInteger),
    UniqueConstraint("issuer", "subject", name="users_subject"),
    UniqueConstraint("login", name="users_login"),
    Index("users_deleted", "purged_at", postgresql_where=text("deleted_at IS NOT NULL")),
)

#: Sign-ins of browsers. A token is random and only its SHA-256 is kept, here and below.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    _user(),
    Column("token_hash", Text, nullable=False),
    _moment("created_at", required=True),
    _moment("seen_at", required=True),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("token_hash", name="sessions_token"),
    Index("sessions_user", "user_id"),
    Index("sessions_expired", "expires_at"),
)

service_keys = Table(
    "service_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    _user(),
    Column("name", Text, nullable=False),
    # what is shown of the key
    Column("prefix", Text, nullable=False),
    Column("token_hash", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("daily_tokens", BigInteger),
    Column("monthly_tokens", BigInteger),
    # what becomes of an answer when its last reader leaves (shared/disconnects.py)
    Column("on_disconnect", Text),
    _moment("created_at", required=True),
    _moment("used_at"),
    _moment("expires_at"),
    _moment("revoked_at"),
    UniqueConstraint("token_hash", name="service_keys_token"),
    Index("service_keys_user", "user_id"),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("title", Text),
    Column("system", Text),
    _moment("created_at", required=True),
    _moment("updated_at", required=True),
    _moment("deleted_at"),
    # up to when its answers were seen; whose the title is, and what it cost
    _moment("seen_at", required=True),
    Column("title_by", Text),
    Column("title_usage", JSONB),
    Column("client_key", Text),
    Column("request_hash", Text),
    UniqueConstraint("id", "user_id", name="conversations_owner"),
    UniqueConstraint("user_id", "client_key", name="conversations_client_key"),
    Index("conversations_newest", "user_id", "seq"),
    Index("conversations_active", "user_id", "updated_at"),
    Index("conversations_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("conversation_id", Uuid, nullable=False),
    Column("parent_id", Uuid, ForeignKey("messages.id")),
    Column("continues_id", Uuid, ForeignKey("messages.id")),
    Column("role", Text, nullable=False),
    Column("status", Text, nullable=False),
    # what was asked for
    Column("model", Text),
    Column("options", JSONB, nullable=False, server_default=text("'{}'")),
    Column("client_key", Text),
    Column("request_hash", Text),
    # the service key that asked
    Column("key_id", Uuid),
    # code points of what was sent to the provider, as the last claim read it
    Column("prompt_chars", Integer),
    # of clients that send the whole history: the place of the turn (shared/chain.py); the hash of
    # an asking request, for its repeats; the system text, where it is not its conversation's
    Column("chain", LargeBinary),
    Column("repeat_hash", Text),
    Column("system", Text),
    # who writes it, until when
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("owner", Text),
    # the token of the claim: no other claim of any message ever had it
    Column("claim", Uuid),
    _moment("lease_until"),
    _moment("hard_deadline"),
    _moment("queue_deadline"),
    _moment("dispatch_at"),
    Column("saved_len", Integer, nullable=False, server_default=text("0")),
    Column("stop_requested", Boolean, nullable=False, server_default=text("false")),
    # seconds after its last reader left until it is stopped
    Column("on_disconnect", Double),
    # what came of it
    Column("body", JSONB),
    Column("length", Integer),
    Column("sha256", Text),
    Column("finish_reason", Text),
    Column("usage", JSONB),
    Column("error_code", Text),
    Column("error_message", Text),
    # what a provider said when it refused: its HTTP status, and the code of its error
    Column("upstream", JSONB),
    _moment("created_at", required=True),
    _moment("started_at"),
    _moment("ended_at"),
    _moment("first_text_at"),
    # by when how much of it was saved, and what happened meanwhile (store/tape_sql.py)
    Column("tape", LargeBinary),
    Column("marks", JSONB),
    ForeignKeyConstraint(
        ["conversation_id", "user_id"],
        ["conversations.id", "conversations.user_id"],
        name="messages_conversation",
        ondelete="CASCADE",
    ),
    UniqueConstraint("user_id", "client_key", name="messages_client_key"),
    Index("messages_branch", "conversation_id", "seq"),
    Index("messages_parent", "parent_id"),
    Index("messages_open", "user_id", postgresql_where=_OPEN),
    Index(
        "messages_abandonable",
        "id",
        postgresql_where=text(f"on_disconnect IS NOT NULL AND status IN {OPEN_STATUSES}"),
    ),
    Index(
        "messages_chain",
        "user_id",
        "chain",
        "seq",
        postgresql_where=text("chain IS NOT NULL"),
    ),
    Index(
        "messages_repeated",
        "user_id",
        "repeat_hash",
        "seq",
        postgresql_where=text("repeat_hash IS NOT NULL"),
    ),
    Index("messages_ended", "conversation_id", "ended_at", postgresql_where=_ENDED),
    Index("messages_failed", "ended_at", postgresql_where=text(f"status = '{Status.ERROR}'")),
    Index(
        "messages_continued",
        "continues_id",
        postgresql_where=text("continues_id IS NOT NULL"),
    ),
    Index(
        "messages_words",
        text("message_words(body)"),
        postgresql_using="gin",
        postgresql_where=text("body IS NOT NULL"),
    ),
)

#: One row: since when Postgres has answered without a break. A crash empties it.
uptime = Table(
    "uptime",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=text("true")),
    _moment("since", required=True),
    # of the processes that watch the clock: when one checked it last, the start of Postgres that
    # it found, and a jump
    _moment("looked"),
    _moment("started"),
    _moment("jumped"),
    prefixes=["UNLOGGED"],
)

pieces = Table(
    "pieces",
    metadata,
    Column("message_id", Uuid, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("start", Integer, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("part", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("meta", JSONB),
    Column("text", Text, nullable=False),
    # milliseconds from the claim to the save
    Column("at", Integer),
)

#: What happened to open answers; it goes into their rows with the end.
message_marks = Table(
    "message_marks",
    metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    _moment("at", required=True),
    Column("kind", Text, nullable=False),
    Column("device", Text),
)

#: Of answers with `on_disconnect`: until when a web process speaks for its readers.
message_readers = Table(
    "message_readers",
    metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("process", Uuid, primary_key=True),
    Column("until", DateTime(timezone=True), nullable=False),
)

#: Files that questions refer to, once for each user, and the messages that do.
files = Table(
    "files",
    metadata,
    Column("id", Uuid, primary_key=True),
    _user(),
    Column("type", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    _moment("created_at", required=True),
    _moment("used_at", required=True),
    Index("files_user", "user_id"),
)

message_files = Table(
    "message_files",
    metadata,
    Column("message_id", Uuid, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("file_id", Uuid, ForeignKey("files.id"), primary_key=True),
    Index("message_files_file", "file_id"),
)

#: What the client of a request said of it that it may ask for again and no provider is sent
#: (metadata), and when it deleted the answer from the API through which it had asked.
client_requests = Table(
    "client_requests",
    metadata,
    Column("message_id", Uuid, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("request", JSONB, nullable=False, server_default=text("'{}'")),
    _moment("deleted_at"),
)

#: Questions that wait for the end of the answers before them (shared/store/line.py).
questions_in_line = Table(
    "questions_in_line",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("conversation_id", Uuid, nullable=False),
    Column("content", Text, nullable=False),
    # what its request asked for and came with, as in `messages`
    Column("model", Text),
    Column("options", JSONB, nullable=False, server_default=text("'{}'")),
    Column("client_key", Text),
    Column("request_hash", Text),
    Column("key_id", Uuid),
    # code of the refusal that it got when its turn came
    Column("problem", Text),
    # when a sweep looks whether its turn has come; infinity: when something happens
    _moment("due_at", required=True),
    _moment("created_at", required=True),
    _moment("changed_at", required=True),
    ForeignKeyConstraint(
        ["conversation_id", "user_id"],
        ["conversations.id", "conversations.user_id"],
        name="questions_in_line_conversation",
        ondelete="CASCADE",
    ),
    UniqueConstraint("user_id", "client_key", name="questions_in_line_client_key"),
    Index("questions_in_line_order", "conversation_id", "seq"),
    Index("questions_in_line_due", "due_at"),
)

#: A conversation that others may read: whoever has the link's token, or one named user.
shares = Table(
    "shares",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("conversation_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("token_hash", Text),
    Column("with_user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE")),
    _moment("created_at", required=True),
    _moment("expires_at"),
    _moment("revoked_at"),
    ForeignKeyConstraint(
        ["conversation_id", "user_id"],
        ["conversations.id", "conversations.user_id"],
        name="shares_conversation",
        ondelete="CASCADE",
    ),
    UniqueConstraint("token_hash", name="shares_token"),
    Index("shares_of", "conversation_id"),
    Index("shares_user", "user_id", "id"),
    Index("shares_with", "with_user_id", postgresql_where=text("with_user_id IS NOT NULL")),
)

#: Where its owner was in a conversation, and where its text ended then.
places = Table(
    "places",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("conversation_id", Uuid, primary_key=True),
    Column("message_id", Uuid, nullable=False),
    Column("position", Integer, nullable=False),
    Column("end_id", Uuid, nullable=False),
    Column("end_position", Integer, nullable=False),
    Column("read_at", DateTime(timezone=True), nullable=False),
    ForeignKeyConstraint(
        ["conversation_id", "user_id"],
        ["conversations.id", "conversations.user_id"],
        name="places_conversation",
        ondelete="CASCADE",
    ),
)

#: Tokens that a user's answers cost on a day (UTC), by the service key that asked (nil without
#: one). It outlives the conversations, and is written with the end of each answer.
token_use = Table(
    "token_use",
    metadata,
    _user(key=True),
    Column("key_id", Uuid, primary_key=True, server_default=text(f"'{uuid.UUID(int=0)}'")),
    Column("day", Date, primary_key=True),
    Column("answers", Integer, nullable=False, server_default=text("0")),
    Column("input_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("output_tokens", BigInteger, nullable=False, server_default=text("0")),
    # how many of them the provider did not report
    Column("estimated_tokens", BigInteger, nullable=False, server_default=text("0")),
    Index(
        "token_use_key",
        "key_id",
        "day",
        postgresql_where=text(f"key_id <> '{uuid.UUID(int=0)}'"),
    ),
)

#: Browsers in which a user is told when an answer is ready. Where they sign in a subscription ends
#: with the session that made it.
push_subscriptions = Table(
    "push_subscriptions",
    metadata,
    Column("id", Uuid, primary_key=True),
    _user(),
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE")),
    # where the browser is reached, its public key, and a secret that it shares with us
    Column("endpoint", Text, nullable=False),
    Column("p256dh", Text, nullable=False),
    Column("auth", Text, nullable=False),
    # whether the person wants to see what the answer says
    Column("with_text", Boolean, nullable=False),
    _moment("created_at", required=True),
    UniqueConstraint("endpoint", name="push_subscriptions_endpoint"),
    Index("push_subscriptions_user", "user_id", "created_at"),
    Index("push_subscriptions_session", "session_id"),
)

#: Answers that have ended, of which their users' browsers are to be told. A worker takes a row away
#: before it sends.
pushes = Table(
    "pushes",
    metadata,
    Column("message_id", Uuid, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Index("pushes_due", "due_at"),
)

#: Who did what, without content. No foreign keys: it outlives what it names.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _moment("at", required=True),
    Column("action", Text, nullable=False),
    Column("user_id", Uuid),
    # the kind of a credential and its id
    Column("credential", Text),
    Column("object_id", Text),
    Column("address", Text),
    Index("audit_user", "user_id", "id"),
    Index("audit_object", "object_id", "id"),
    Index("audit_action", "action", "id"),
    Index("audit_at", "at"),
)
