"""Many people: accounts, sessions, service keys, shares, what was used, and who did what."""

from alembic import op

from shared.store.migrations import online

revision = "0006"
down_revision = "0005"

_USERS = """
ALTER TABLE users
    ADD COLUMN IF NOT EXISTS issuer text,
    ADD COLUMN IF NOT EXISTS subject text,
    ADD COLUMN IF NOT EXISTS login text,
    ADD COLUMN IF NOT EXISTS password_hash text,
    ADD COLUMN IF NOT EXISTS operator boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS disabled_at timestamptz,
    ADD COLUMN IF NOT EXISTS deleted_at timestamptz,
    ADD COLUMN IF NOT EXISTS purged_at timestamptz,
    ADD COLUMN IF NOT EXISTS daily_tokens bigint,
    ADD COLUMN IF NOT EXISTS monthly_tokens bigint
"""

_TABLES = """
CREATE TABLE IF NOT EXISTS sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash text NOT NULL CONSTRAINT sessions_token UNIQUE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS sessions_user ON sessions (user_id);
CREATE INDEX IF NOT EXISTS sessions_expired ON sessions (expires_at);

CREATE TABLE IF NOT EXISTS service_keys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name text NOT NULL,
    prefix text NOT NULL,
    token_hash text NOT NULL CONSTRAINT service_keys_token UNIQUE,
    scopes text[] NOT NULL,
    daily_tokens bigint,
    monthly_tokens bigint,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    used_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX IF NOT EXISTS service_keys_user ON service_keys (user_id);

CREATE TABLE IF NOT EXISTS shares (
    id uuid PRIMARY KEY,
    conversation_id uuid NOT NULL,
    user_id uuid NOT NULL,
    token_hash text CONSTRAINT shares_token UNIQUE,
    with_user_id uuid REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT shares_conversation FOREIGN KEY (conversation_id, user_id)
        REFERENCES conversations (id, user_id) ON DELETE CASCADE,
    CONSTRAINT shares_one_kind CHECK ((token_hash IS NULL) <> (with_user_id IS NULL))
);
CREATE INDEX IF NOT EXISTS shares_of ON shares (conversation_id);
CREATE INDEX IF NOT EXISTS shares_user ON shares (user_id, id);
CREATE INDEX IF NOT EXISTS shares_with ON shares (with_user_id) WHERE with_user_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS token_use (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    day date NOT NULL,
    answers integer NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    estimated_tokens bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, key_id, day)
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS token_use_key ON token_use (key_id, day)
    WHERE key_id <> '00000000-0000-0000-0000-000000000000';

CREATE TABLE IF NOT EXISTS audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    action text NOT NULL,
    user_id uuid,
    credential text,
    object_id text,
    address text
);
CREATE INDEX IF NOT EXISTS audit_user ON audit (user_id, id);
CREATE INDEX IF NOT EXISTS audit_object ON audit (object_id, id);
CREATE INDEX IF NOT EXISTS audit_action ON audit (action, id);
CREATE INDEX IF NOT EXISTS audit_at ON audit (at);
"""

_MESSAGES = """
ALTER TABLE messages
    ADD COLUMN IF NOT EXISTS key_id uuid,
    ADD COLUMN IF NOT EXISTS prompt_chars integer
"""


def upgrade() -> None:
    op.execute(_USERS)
    online.commit()
    op.execute(_TABLES)
    online.commit()
    op.execute(_MESSAGES)
    online.commit()
    online.add_check("users", "users_issued", "(issuer IS NULL) = (subject IS NULL)")
    online.add_unique("users", "users_subject", "issuer, subject")
    online.add_unique("users", "users_login", "login")
    online.create_index("users_deleted", "users (purged_at) WHERE deleted_at IS NOT NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE messages DROP COLUMN key_id, DROP COLUMN prompt_chars")
    op.execute("DROP TABLE audit, token_use, shares, service_keys, sessions")
    op.execute(
        "ALTER TABLE users DROP COLUMN issuer, DROP COLUMN subject, DROP COLUMN login,"
        " DROP COLUMN password_hash, DROP COLUMN operator, DROP COLUMN disabled_at,"
        " DROP COLUMN deleted_at, DROP COLUMN purged_at,"
        " DROP COLUMN daily_tokens, DROP COLUMN monthly_tokens"
    )
