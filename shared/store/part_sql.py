"""The kinds of parts in SQL: the one place where a statement chooses parts of a body."""

from collections.abc import Callable

from shared.parts import Traits, kinds


def joined_text(body: str, wanted: Callable[[Traits], bool]) -> str:
    """SQL: the parts of `body` (jsonb) that have the wanted traits, joined in their order.

    Names and traits are ours, never a user's text.
    """
    chosen = ", ".join(f"'{kind}'" for kind in kinds(wanted))
    return (
        "(SELECT coalesce(string_agg(part ->> 'text', '' ORDER BY number), '')"
        f" FROM jsonb_array_elements({body}) WITH ORDINALITY AS parts (part, number)"
        f" WHERE part ->> 'kind' IN ({chosen}))"
    )
