"""Since when Postgres has answered without a break."""

from alembic import op

revision = "0002"
down_revision = "0001"

# Unlogged on purpose: a crash, and a fail-over to a replica, empty the table, however long the
# recovery takes; pg_postmaster_start_time() lies before the recovery, or is that of an older start.
_TABLE = """
CREATE UNLOGGED TABLE uptime (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    since timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


def upgrade() -> None:
    op.execute(_TABLE)


def downgrade() -> None:
    op.execute("DROP TABLE uptime")
