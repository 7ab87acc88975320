"""When a process last checked the database's clock, and when it jumped (store/clock.py)."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE uptime ADD COLUMN looked timestamptz, ADD COLUMN started timestamptz,"
        " ADD COLUMN jumped timestamptz"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE uptime DROP COLUMN looked, DROP COLUMN started, DROP COLUMN jumped")
