"""Users, conversations, messages as a tree, and the pieces of an answer being written."""

from alembic import op

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE users (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO users (id, name) VALUES ('00000000-0000-4000-8000-000000000001', 'local');

CREATE TABLE conversations (
    id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    user_id uuid NOT NULL REFERENCES users (id),
    title text,
    system text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamptz,
    CONSTRAINT conversations_owner UNIQUE (id, user_id)
);
CREATE INDEX conversations_newest ON conversations (user_id, seq);
CREATE INDEX conversations_deleted ON conversations (deleted_at) WHERE deleted_at IS NOT NULL;

-- fillfactor: a save or heartbeat changes no indexed column, and with room on the page it is a
-- HOT update that touches no index.
CREATE TABLE messages (
    id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    user_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    parent_id uuid REFERENCES messages (id),
    continues_id uuid REFERENCES messages (id),
    role text NOT NULL,
    status text NOT NULL,
    model text,
    options jsonb NOT NULL DEFAULT '{}',
    client_key text,
    request_hash text,
    attempt integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    owner text,
    lease_until timestamptz,
    hard_deadline timestamptz,
    queue_deadline timestamptz,
    dispatch_at timestamptz,
    saved_len integer NOT NULL DEFAULT 0,
    stop_requested boolean NOT NULL DEFAULT false,
    body jsonb,
    length integer,
    sha256 text,
    finish_reason text,
    usage jsonb,
    error_code text,
    error_message text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    ended_at timestamptz,
    CONSTRAINT messages_conversation FOREIGN KEY (conversation_id, user_id)
        REFERENCES conversations (id, user_id) ON DELETE CASCADE,
    CONSTRAINT messages_client_key UNIQUE (user_id, client_key),
    CONSTRAINT messages_role CHECK (role IN ('user', 'assistant')),
    CONSTRAINT messages_status
        CHECK (status IN ('SENDING', 'STREAMING', 'DONE', 'CANCELLED', 'ERROR')),
    CONSTRAINT messages_user_is_done CHECK (role = 'assistant' OR status = 'DONE'),
    -- every open row carries a deadline, so none can stay open for ever
    CONSTRAINT messages_streaming CHECK (num_nonnulls(owner, lease_until, hard_deadline)
        = CASE WHEN status = 'STREAMING' THEN 3 ELSE 0 END),
    CONSTRAINT messages_sending CHECK (num_nonnulls(queue_deadline, dispatch_at)
        = CASE WHEN status = 'SENDING' THEN 2 ELSE 0 END),
    CONSTRAINT messages_error CHECK ((status = 'ERROR') = (error_code IS NOT NULL)),
    CONSTRAINT messages_ended CHECK (num_nonnulls(body, length, sha256, ended_at)
        = CASE WHEN status IN ('SENDING', 'STREAMING') THEN 0 ELSE 4 END),
    CONSTRAINT messages_hashed CHECK ((client_key IS NULL) = (request_hash IS NULL))
) WITH (fillfactor = 50);
CREATE INDEX messages_branch ON messages (conversation_id, seq);
CREATE INDEX messages_parent ON messages (parent_id);
CREATE INDEX messages_open ON messages (user_id) WHERE status IN ('SENDING', 'STREAMING');

CREATE TABLE pieces (
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    start integer NOT NULL,
    user_id uuid NOT NULL,
    part integer NOT NULL,
    kind text NOT NULL,
    meta jsonb,
    text text NOT NULL,
    PRIMARY KEY (message_id, start),
    CONSTRAINT pieces_text CHECK (text <> '')
);
"""

# The last line of defence: whatever a program does, the story of a message stays possible.
# The moves are those of shared/lifecycle.py (a test tries all pairs).
_GUARD = """
CREATE FUNCTION messages_guard() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;
CREATE TRIGGER messages_guard BEFORE UPDATE ON messages
    FOR EACH ROW EXECUTE FUNCTION messages_guard();
"""


def upgrade() -> None:
    op.execute(_TABLES)
    op.execute(_GUARD)


def downgrade() -> None:
    op.execute("DROP TABLE pieces, messages, conversations, users; DROP FUNCTION messages_guard()")
