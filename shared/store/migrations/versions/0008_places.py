"""Where a person was in a conversation, on every device."""

from alembic import op

revision = "0008"
down_revision = "0007"

_PLACES = """
CREATE TABLE IF NOT EXISTS places (
    user_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    message_id uuid NOT NULL,
    position integer NOT NULL,
    end_id uuid NOT NULL,
    end_position integer NOT NULL,
    read_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, conversation_id),
    CONSTRAINT places_conversation FOREIGN KEY (conversation_id, user_id)
        REFERENCES conversations (id, user_id) ON DELETE CASCADE
)
"""


def upgrade() -> None:
    op.execute(_PLACES)


def downgrade() -> None:
    op.execute("DROP TABLE places")
