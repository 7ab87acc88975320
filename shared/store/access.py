"""Who may read and who may write a row, each in one SQL predicate.

Every statement that acts for a user has one of them in its condition, so a row that the user may
not see is a row that is not there: NotFound, without a hint that it exists. Today both rights are
the owner's alone. Sharing would be a change of these two functions and their indexes.

What belongs to a user however rights are shared (Idempotency-Keys, the cap on open answers)
compares `user_id` and does not come here.
"""


def may_read(row: str, user: str = ":user") -> str:
    """SQL: whether `user` may read `row`, a row of conversations or messages."""
    return f"{row}.user_id = {user}"


def may_write(row: str, user: str = ":user") -> str:
    """SQL: whether `user` may change `row`: ask in it, name it, stop it, delete it."""
    return f"{row}.user_id = {user}"
