"""Clients that send the whole history: where its turns are, and what a provider refused."""

from alembic import op

from shared.store.migrations import online

revision = "0007"
down_revision = "0006"

_MESSAGES = """
ALTER TABLE messages
    ADD COLUMN IF NOT EXISTS chain bytea,
    ADD COLUMN IF NOT EXISTS repeat_hash text,
    ADD COLUMN IF NOT EXISTS system text,
    ADD COLUMN IF NOT EXISTS upstream jsonb
"""


def upgrade() -> None:
    op.execute(_MESSAGES)
    online.commit()
    online.create_index("messages_chain", "messages (user_id, chain, seq) WHERE chain IS NOT NULL")
    online.create_index(
        "messages_repeated", "messages (user_id, repeat_hash, seq) WHERE repeat_hash IS NOT NULL"
    )


def downgrade() -> None:
    op.execute(
        "ALTER TABLE messages DROP COLUMN chain, DROP COLUMN repeat_hash, DROP COLUMN system,"
        " DROP COLUMN upstream"
    )
