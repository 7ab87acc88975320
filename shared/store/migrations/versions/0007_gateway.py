"""Clients that send the whole history: places of turns, refusals of providers, files, readers."""

from alembic import op

from shared.store.migrations import online

revision = "0007"
down_revision = "0006"

_MESSAGES = """
ALTER TABLE messages
    ADD COLUMN IF NOT EXISTS chain bytea,
    ADD COLUMN IF NOT EXISTS repeat_hash text,
    ADD COLUMN IF NOT EXISTS system text,
    ADD COLUMN IF NOT EXISTS upstream jsonb,
    ADD COLUMN IF NOT EXISTS on_disconnect double precision
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

# What the client of a request said of it that no provider is sent and it may ask for again, and
# when it deleted the answer from the API that it was asked through.
_REQUESTS = """
CREATE TABLE IF NOT EXISTS client_requests (
    message_id uuid PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    request jsonb NOT NULL DEFAULT '{}',
    deleted_at timestamptz
)
"""

# What a turn says, for its link (shared/chain.py). Each field goes with its length, so no two turns
# are hashed as the same bytes. Changing this function makes every known history unknown.
_SAID = """
CREATE OR REPLACE FUNCTION message_said(role text, body jsonb) RETURNS bytea
LANGUAGE sql STABLE STRICT AS $$
    WITH parts AS (
        SELECT number, part ->> 'kind' AS kind, part ->> 'text' AS text,
            coalesce(nullif(part -> 'meta', 'null'), '{}') AS meta,
            count(*) FILTER (WHERE part ->> 'kind' = 'tool_call') OVER (ORDER BY number) AS calls
        FROM jsonb_array_elements(body) WITH ORDINALITY AS parts (part, number)
    ), said AS (
        SELECT 0 AS number, ARRAY['text', coalesce(
            (SELECT string_agg(text, '' ORDER BY number) FROM parts WHERE kind = 'text'), '')]
            AS fields
        WHERE role = 'assistant'
        UNION ALL
        SELECT number, CASE kind
            WHEN 'text' THEN ARRAY[kind, text]
            WHEN 'tool_call' THEN ARRAY[kind,
                coalesce(nullif(meta ->> 'id', ''), 'call_' || (calls - 1)),
                coalesce(meta ->> 'name', ''), json_value_of(text)]
            WHEN 'tool_result' THEN ARRAY[kind, coalesce(meta ->> 'tool_call_id', ''),
                CASE WHEN meta ->> 'empty' = 'true' THEN '' ELSE text END]
            ELSE ARRAY[kind, text, (meta - ARRAY['file', 'type', 'bytes'])::text] END
        FROM parts
        WHERE kind IN ('tool_call', 'tool_result', 'image', 'audio', 'file')
            OR (kind = 'text' AND role = 'user')
    )
    SELECT sha256(convert_to(role || ';' || coalesce(string_agg(
        octet_length(field) || ';' || field, '' ORDER BY number, place), ''), 'UTF8'))
    FROM said CROSS JOIN LATERAL unnest(fields) WITH ORDINALITY AS one (field, place)
$$
"""

# Equal JSON values as equal text, whatever their order, spaces, escapes and zeros. It must not
# fail, as an answer could not end: what Postgres cannot hold stays as it is written, and so does
# what would become very long (a number with a large exponent has all its digits in Postgres).
_JSON_VALUE = r"""
CREATE OR REPLACE FUNCTION json_value_of(written text) RETURNS text
LANGUAGE plpgsql STABLE STRICT AS $$
BEGIN
    IF length(written) > 262144 OR regexp_replace(written, '"(?:[^"\\]|\\.)*"', '', 'g')
            ~ '[eE][+-]?0*[1-9][0-9]{2}' THEN
        RETURN written;
    END IF;
    RETURN regexp_replace(written::jsonb::text,
        '("(?:[^"\\]|\\.)*")|(\.[0-9]*[1-9])0+(?![0-9])|\.0+(?![0-9])', '\1\2', 'g');
EXCEPTION WHEN OTHERS THEN
    RETURN written;
END $$
"""


# Of answers that are to be stopped when nobody reads them. Without foreign keys: a process that
# renews must not wait for what locks an answer.
_READERS = """
ALTER TABLE service_keys ADD COLUMN IF NOT EXISTS on_disconnect text;
CREATE TABLE IF NOT EXISTS message_readers (
    message_id uuid NOT NULL,
    process uuid NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (message_id, process)
)
"""


def upgrade() -> None:
    op.execute(_MESSAGES)
    op.execute(_READERS)
    op.execute(_FILES)
    op.execute(_REQUESTS)
    op.execute(_JSON_VALUE)
    op.execute(_SAID)
    online.commit()
    online.create_index("messages_chain", "messages (user_id, chain, seq) WHERE chain IS NOT NULL")
    online.create_index(
        "messages_abandonable",
        "messages (id) WHERE on_disconnect IS NOT NULL AND status IN ('SENDING', 'STREAMING')",
    )
    online.create_index(
        "messages_repeated", "messages (user_id, repeat_hash, seq) WHERE repeat_hash IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION message_said(text, jsonb); DROP FUNCTION json_value_of(text)")
    op.execute("DROP TABLE message_files, files, client_requests, message_readers")
    op.execute("ALTER TABLE service_keys DROP COLUMN on_disconnect")
    op.execute(
        "ALTER TABLE messages DROP COLUMN chain, DROP COLUMN repeat_hash, DROP COLUMN system,"
        " DROP COLUMN upstream, DROP COLUMN on_disconnect"
    )
