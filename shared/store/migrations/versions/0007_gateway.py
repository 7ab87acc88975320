"""Clients that send the whole history: where its turns are, what a provider refused, files."""

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

# Images and the like are compressed already: EXTERNAL stores them as they are.
_FILES = """
CREATE TABLE IF NOT EXISTS files (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    type text NOT NULL,
    data bytea STORAGE EXTERNAL NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS files_user ON files (user_id);
CREATE TABLE IF NOT EXISTS message_files (
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    file_id uuid NOT NULL REFERENCES files (id),
    PRIMARY KEY (message_id, file_id)
);
CREATE INDEX IF NOT EXISTS message_files_file ON message_files (file_id)
"""


def upgrade() -> None:
    op.execute(_MESSAGES)
    op.execute(_FILES)
    online.commit()
    online.create_index("messages_chain", "messages (user_id, chain, seq) WHERE chain IS NOT NULL")
    online.create_index(
        "messages_repeated", "messages (user_id, repeat_hash, seq) WHERE repeat_hash IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DROP TABLE message_files, files")
    op.execute(
        "ALTER TABLE messages DROP COLUMN chain, DROP COLUMN repeat_hash, DROP COLUMN system,"
        " DROP COLUMN upstream"
    )
