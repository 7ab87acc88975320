"""The tape of an answer: when each of its positions was saved, and what happened meanwhile."""

from alembic import op

revision = "0009"
down_revision = "0008"

# A NULL is an answer, or a piece, of an earlier version: it has no time. Pieces come by the save
# (`store/owning.py`), and are wound up to the tape with the end (`store/tape_sql.py`).
_COLUMNS = """
ALTER TABLE messages
    ADD COLUMN IF NOT EXISTS tape bytea,
    ADD COLUMN IF NOT EXISTS marks jsonb;
ALTER TABLE pieces ADD COLUMN IF NOT EXISTS at integer
"""

# Of open answers. Without a foreign key, as `message_readers`: a web process that notes that a
# reader came must not lock the answer, which its owner saves.
_MARKS = """
CREATE TABLE IF NOT EXISTS message_marks (
    message_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,
    device text,
    PRIMARY KEY (message_id, id)
)
"""


def upgrade() -> None:
    op.execute(_COLUMNS)
    op.execute(_MARKS)


def downgrade() -> None:
    op.execute("DROP TABLE message_marks")
    op.execute("ALTER TABLE messages DROP COLUMN tape, DROP COLUMN marks")
    op.execute("ALTER TABLE pieces DROP COLUMN at")
