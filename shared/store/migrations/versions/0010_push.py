"""Browsers that are told when an answer is ready, and the answers that they are to be told of."""

from alembic import op

revision = "0010"
down_revision = "0009"

_SUBSCRIPTIONS = """
CREATE TABLE IF NOT EXISTS push_subscriptions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    session_id uuid REFERENCES sessions (id) ON DELETE CASCADE,
    endpoint text NOT NULL,
    p256dh text NOT NULL,
    auth text NOT NULL,
    with_text boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT push_subscriptions_endpoint UNIQUE (endpoint)
);
CREATE INDEX IF NOT EXISTS push_subscriptions_user ON push_subscriptions (user_id, created_at);
CREATE INDEX IF NOT EXISTS push_subscriptions_session ON push_subscriptions (session_id)
"""

_PUSHES = """
CREATE TABLE IF NOT EXISTS pushes (
    message_id uuid PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    due_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS pushes_due ON pushes (due_at)
"""


def upgrade() -> None:
    op.execute(_SUBSCRIPTIONS)
    op.execute(_PUSHES)


def downgrade() -> None:
    op.execute("DROP TABLE pushes, push_subscriptions")
