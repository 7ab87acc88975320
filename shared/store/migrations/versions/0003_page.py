"""What the page asks for: what was seen, whose a title is, search, when the first text came."""

from alembic import op

from shared.store.migrations import online

revision = "0003"
down_revision = "0002"

# now() is the same for all rows, so Postgres notes it once; with clock_timestamp() as the first
# default it would write every row anew.
_CONVERSATIONS = """
ALTER TABLE conversations
    ADD COLUMN IF NOT EXISTS seen_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS title_by text,
    ADD COLUMN IF NOT EXISTS title_usage jsonb,
    ADD COLUMN IF NOT EXISTS client_key text,
    ADD COLUMN IF NOT EXISTS request_hash text;
ALTER TABLE conversations ALTER COLUMN seen_at SET DEFAULT clock_timestamp();
"""
_MESSAGES = "ALTER TABLE messages ADD COLUMN IF NOT EXISTS first_text_at timestamptz"

# No language is known, so no word is changed but to lower case. Only the beginning of a very long
# text: a tsvector holds a megabyte. Nothing of ours is called inside, or a restored dump, which
# knows no search path, could not build the index.
_WORDS = """
CREATE OR REPLACE FUNCTION message_words(body jsonb) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_tsvector('pg_catalog.simple'::regconfig, left(
        (SELECT coalesce(string_agg(part ->> 'text', '' ORDER BY number), '')
         FROM jsonb_array_elements(body) WITH ORDINALITY AS parts (part, number)
         WHERE part ->> 'kind' = 'text'), 100000))
$$;
"""

_INDEXES = {
    "conversations_active": "conversations (user_id, updated_at)",
    "messages_ended": "messages (conversation_id, ended_at)"
    " WHERE role = 'assistant' AND ended_at IS NOT NULL",
    "messages_failed": "messages (ended_at) WHERE status = 'ERROR'",
    "messages_continued": "messages (continues_id) WHERE continues_id IS NOT NULL",
    "messages_words": "messages USING gin (message_words(body)) WHERE body IS NOT NULL",
}


def upgrade() -> None:
    op.execute(_CONVERSATIONS)
    online.commit()
    op.execute(_MESSAGES)
    online.commit()
    op.execute(_WORDS)
    online.add_check(
        "conversations", "conversations_title_by", "title_by IN ('question', 'model', 'person')"
    )
    online.add_check(
        "conversations", "conversations_hashed", "(client_key IS NULL) = (request_hash IS NULL)"
    )
    online.add_unique("conversations", "conversations_client_key", "user_id, client_key")
    for name, definition in _INDEXES.items():
        online.create_index(name, definition)


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
