"""The kinds of parts in SQL: the one place where a statement chooses parts of a body."""

from collections.abc import Callable

from shared.parts import PartKind, Traits, kinds


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


def prompt_parts(body: str) -> str:
    """SQL: a row of the parts of `body` (jsonb) that are sent to the provider, as jsonb in their
    order; their code points; and whether results of tools are among them."""
    chosen = ", ".join(f"'{kind}'" for kind in kinds(lambda its: its.in_prompt))
    return (
        "(SELECT coalesce(jsonb_agg(part ORDER BY number), '[]'),"
        " coalesce(sum(char_length(part ->> 'text')), 0),"
        f" coalesce(bool_or(part ->> 'kind' = '{PartKind.TOOL_RESULT}'), false)"
        f" FROM jsonb_array_elements({body}) WITH ORDINALITY AS parts (part, number)"
        f" WHERE part ->> 'kind' IN ({chosen}))"
    )


def part_lengths(body: str) -> str:
    """SQL: the parts of `body` (jsonb) in their order, each as [kind, code points]; as json."""
    return (
        "(SELECT coalesce(json_agg(json_build_array(part ->> 'kind',"
        " char_length(part ->> 'text')) ORDER BY number), '[]')"
        f" FROM jsonb_array_elements({body}) WITH ORDINALITY AS parts (part, number))"
    )
