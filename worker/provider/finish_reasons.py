"""Finish reasons: fifty spellings of providers, stored under five names. Pure.

So a page or a client has to know five words. A reason that the table does not know is stored as it
came.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from shared.text import normalise

#: Characters of an unknown reason that are kept.
REASON_MAX: Final = 100

#: Spelling, in lower case and with `_` for every other separator -> stored name.
REASONS: Final[Mapping[str, str]] = {
    spelling: name
    for name, spellings in {
        "stop": "stop stopped eos eos_token eot end end_turn end_of_turn complete completed done"
        " finish finished stop_sequence stop_token normal success",
        "length": "length max_tokens max_token max_length model_length token_limit"
        " max_output_tokens max_completion_tokens max_new_tokens max_context_length context_length"
        " context_length_exceeded context_window_exceeded model_context_window_exceeded"
        " token_limit_reached length_limit length_capped truncated incomplete",
        "content_filter": "content_filter content_filtered contentfilter filter filtered sensitive"
        " refusal refused safety blocked blocklist prohibited_content recitation spii image_safety"
        " guardrail guardrails guardrail_intervened error_toxic moderation policy_violation"
        " content_policy content_policy_violation risk_control unsafe",
        "tool_calls": "tool_calls tool_call tool_use tool tools toolcalls function_call"
        " function_calls",
        "error": "error errored abort aborted cancelled canceled cancel user_cancel failed failure"
        " insufficient_system_resource network_error internal_error server_error model_error"
        " engine_error timeout timed_out malformed_function_call unexpected_tool_call error_limit"
        " overloaded exception unavailable interrupted",
    }.items()
    for spelling in spellings.split()
}
#: The reasons of an answer that is known to be incomplete.
INCOMPLETE: Final = ("length", "content_filter")
#: Words that stand for no reason; some servers send one with every chunk.
_NO_REASON: Final = frozenset(
    ("", "null", "none", "nil", "undefined", "unspecified", "not_finished", "in_progress")
)


def finish_reason_of(value: Any) -> str | None:
    """The stored name of a `finish_reason`; an unknown one as it is; None for none."""
    if not isinstance(value, str):
        return None
    spelling = re.sub(r"[^a-z0-9]+", "_", value.strip().lower()).strip("_")
    spelling = spelling.removeprefix("finish_reason_")
    if spelling in _NO_REASON and value.isascii():
        return None
    return REASONS.get(spelling) or normalise(value[:REASON_MAX])
