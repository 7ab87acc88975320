"""A claim has a token that no restored or promoted database can hand out a second time."""

from alembic import op

revision = "0004"
down_revision = "0003"

_COLUMN = "ALTER TABLE messages ADD COLUMN claim uuid"

# As in 0001, and: a row that waits for a worker has no claim (a worker that gives it back need not
# clear it, and the version before this one does not), and nothing but a claim sets one. There is
# no CHECK that a row being written has one: workers of the version before this one claim without.
_GUARD = """
CREATE OR REPLACE FUNCTION messages_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status NOT IN ('SENDING', 'STREAMING') THEN
        RAISE EXCEPTION 'message % has ended and never changes', OLD.id USING ERRCODE = '23000';
    END IF;
    IF NEW.attempt < OLD.attempt OR NEW.tries < OLD.tries OR NEW.saved_len < OLD.saved_len THEN
        RAISE EXCEPTION 'attempt, tries and saved_len of message % only grow', OLD.id
            USING ERRCODE = '23000';
    END IF;
    IF OLD.status = 'SENDING' AND NEW.status = 'DONE' THEN
        RAISE EXCEPTION 'message % cannot be done before it is claimed', OLD.id
            USING ERRCODE = '23000';
    END IF;
    IF OLD.status = 'STREAMING' AND NEW.status = 'SENDING' AND NEW.saved_len > 0 THEN
        RAISE EXCEPTION 'message % was shown and cannot begin again', OLD.id
            USING ERRCODE = '23000';
    END IF;
    IF NEW.status = 'SENDING' THEN
        NEW.claim := NULL;
    ELSIF NEW.claim IS DISTINCT FROM OLD.claim
            AND NOT (OLD.status = 'SENDING' AND NEW.status = 'STREAMING') THEN
        RAISE EXCEPTION 'the claim of message % does not change while it is written', OLD.id
            USING ERRCODE = '23000';
    END IF;
    RETURN NEW;
END $$
"""

_GUARD_BEFORE = """
CREATE OR REPLACE FUNCTION messages_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status NOT IN ('SENDING', 'STREAMING') THEN
        RAISE EXCEPTION 'message % has ended and never changes', OLD.id USING ERRCODE = '23000';
    END IF;
    IF NEW.attempt < OLD.attempt OR NEW.tries < OLD.tries OR NEW.saved_len < OLD.saved_len THEN
        RAISE EXCEPTION 'attempt, tries and saved_len of message % only grow', OLD.id
            USING ERRCODE = '23000';
    END IF;
    IF OLD.status = 'SENDING' AND NEW.status = 'DONE' THEN
        RAISE EXCEPTION 'message % cannot be done before it is claimed', OLD.id
            USING ERRCODE = '23000';
    END IF;
    IF OLD.status = 'STREAMING' AND NEW.status = 'SENDING' AND NEW.saved_len > 0 THEN
        RAISE EXCEPTION 'message % was shown and cannot begin again', OLD.id
            USING ERRCODE = '23000';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.execute(_COLUMN)
    op.execute(_GUARD)


def downgrade() -> None:
    op.execute(_GUARD_BEFORE)
    op.execute("ALTER TABLE messages DROP COLUMN claim")
