"""Who may read and who may write a row, each in one SQL predicate.

Every statement that acts for a user has one of them in its condition, so a row that the user may
not see is a row that is not there: NotFound, without a hint that it exists.

A conversation belongs to its owner. Others may read it, as a whole and nothing else, through a
share (`shares`): whoever has a link, and one named user. Who reads by a link is no user: the id of
the link stands in the place of a user's, and owns nothing. So what lists or changes what is
somebody's (`owns`, `may_write`) finds nothing for a link, whatever route it belongs to.

The owner is compared first, so that for them a share is never looked up.

What belongs to a user however rights are shared (Idempotency-Keys, the cap on open answers)
compares `user_id` and does not come here.
"""

from typing import Final

#: SQL: a share `s`, of an owner `o`, that can be used now.
GOOD: Final = (
    "s.revoked_at IS NULL AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())"
    " AND o.disabled_at IS NULL"
)


def owns(row: str, user: str = ":user") -> str:
    """SQL: whether `row`, of conversations or messages, is `user`'s own."""
    return f"{row}.user_id = {user}"


def may_read(row: str, user: str = ":user") -> str:
    """SQL: whether `user` may read `row`, a row of messages."""
    return f"({owns(row, user)} OR {_is_shared(f'{row}.conversation_id', user)})"


def may_read_conversation(row: str, user: str = ":user") -> str:
    """SQL: whether `user` may read `row`, a row of conversations."""
    return f"({owns(row, user)} OR {_is_shared(f'{row}.id', user)})"


def may_write(row: str, user: str = ":user") -> str:
    """SQL: whether `user` may change `row`: ask in it, name it, stop it, delete it, share it."""
    return owns(row, user)


def _is_shared(conversation: str, user: str) -> str:
    return (
        "EXISTS (SELECT FROM shares s JOIN users o ON o.id = s.user_id"
        f" WHERE s.conversation_id = {conversation} AND {user} IN (s.id, s.with_user_id)"
        f" AND {GOOD})"
    )
