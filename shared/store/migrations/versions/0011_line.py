"""Questions in line: what a person asks while an answer is written, sent when it ends."""

from alembic import op

from shared.store.migrations import online

revision = "0011"
down_revision = "0010"

_LINE = """
CREATE TABLE IF NOT EXISTS questions_in_line (
    id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    user_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    content text NOT NULL,
    model text,
    options jsonb NOT NULL DEFAULT '{}',
    client_key text,
    request_hash text,
    key_id uuid,
    problem text,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT questions_in_line_conversation FOREIGN KEY (conversation_id, user_id)
        REFERENCES conversations (id, user_id) ON DELETE CASCADE,
    CONSTRAINT questions_in_line_client_key UNIQUE (user_id, client_key)
)
"""


def upgrade() -> None:
    op.execute(_LINE)
    online.commit()
    online.create_index("questions_in_line_order", "questions_in_line (conversation_id, seq)")
    online.create_index("questions_in_line_due", "questions_in_line (due_at)")


def downgrade() -> None:
    op.execute("DROP TABLE questions_in_line")
