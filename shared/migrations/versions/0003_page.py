"""What the page asks for: what was seen, whose a title is, search, when the first word came."""

from alembic import op

revision = "0003"
down_revision = "0002"

_COLUMNS = """
ALTER TABLE conversations
    ADD COLUMN seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN title_by text,
    ADD COLUMN title_usage jsonb,
    ADD COLUMN client_key text,
    ADD COLUMN request_hash text,
    ADD CONSTRAINT conversations_client_key UNIQUE (user_id, client_key),
    ADD CONSTRAINT conversations_title_by CHECK (title_by IN ('question', 'model', 'person')),
    ADD CONSTRAINT conversations_hashed CHECK ((client_key IS NULL) = (request_hash IS NULL));
ALTER TABLE messages ADD COLUMN first_text_at timestamptz;
CREATE INDEX conversations_active ON conversations (user_id, updated_at);
CREATE INDEX messages_ended ON messages (conversation_id, ended_at)
    WHERE role = 'assistant' AND ended_at IS NOT NULL;
CREATE INDEX messages_failed ON messages (ended_at) WHERE status = 'ERROR';
CREATE INDEX messages_continued ON messages (continues_id) WHERE continues_id IS NOT NULL;
"""

# No language is known, so no word is changed but to lower case. Only the beginning of a very long
# text: a tsvector holds a megabyte. Nothing of ours is called inside, or a restored dump, which
# knows no search path, could not build the index.
_SEARCH = """
CREATE FUNCTION message_words(body jsonb) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_tsvector('pg_catalog.simple'::regconfig, left(
        (SELECT coalesce(string_agg(part ->> 'text', '' ORDER BY number), '')
         FROM jsonb_array_elements(body) WITH ORDINALITY AS parts (part, number)
         WHERE part ->> 'kind' = 'text'), 100000))
$$;
CREATE INDEX messages_words ON messages USING gin (message_words(body)) WHERE body IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(_COLUMNS)
    op.execute(_SEARCH)


def downgrade() -> None:
    op.execute("DROP INDEX messages_words; DROP FUNCTION message_words(jsonb)")
    op.execute(
        "DROP INDEX conversations_active, messages_ended, messages_failed, messages_continued"
    )
    op.execute("ALTER TABLE messages DROP COLUMN first_text_at")
    op.execute(
        "ALTER TABLE conversations DROP COLUMN seen_at, DROP COLUMN title_by,"
        " DROP COLUMN title_usage, DROP COLUMN client_key, DROP COLUMN request_hash"
    )
