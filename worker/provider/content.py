"""Content of any shape, flattened into (kind, text). Pure.

A provider's `content` is a string, a part, or a list of parts of any nesting. Parts may hold text,
thoughts, or media, for which a body has no part.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from shared.errors import GenerationFailed

#: Pieces that the content of one chunk may have.
PIECES_MAX: Final = 4_000
#: The kind under which `flatten` reports an image and the like.
LEFT_OUT: Final = "left out"

#: Keys of a part under which thoughts stand, and keys under which text stands.
_THOUGHT_KEYS: Final = ("thinking", "reasoning", "reasoning_content", "thought", "summary")
_TEXT_KEYS: Final = ("text", "content", "output_text", "refusal", "value", "parts")
_MEDIA_TYPES: Final = re.compile("image|audio|video|file|media")
_MEDIA_KEYS: Final = ("image_url", "b64_json", "inline_data", "inlineData", "input_audio")


def flatten(content: Any, kind: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of everything in `content`, in order; (LEFT_OUT, "") for media.

    `kind`: what plain text in it is. Raises GenerationFailed for numbers and booleans, which are
    not content, and for too many pieces.
    """
    waiting = [(content, kind)]
    taken = 0
    while waiting:
        taken += 1
        if taken + len(waiting) > PIECES_MAX:
            raise GenerationFailed("provider_malformed")
        value, kind = waiting.pop()
        if isinstance(value, str):
            if value:
                yield kind, value
        elif isinstance(value, list):
            waiting += [(item, kind) for item in reversed(value)]
        elif isinstance(value, dict):
            if _is_media(value):
                yield LEFT_OUT, ""
            else:
                waiting += reversed(list(_inside(value, kind)))
        elif value:
            raise GenerationFailed("provider_malformed")


def _inside(part: dict[str, Any], kind: str) -> Iterator[tuple[Any, str]]:
    """The contents of a part, each with its kind."""
    name = part.get("type")
    name = name if isinstance(name, str) else ""
    if "tool" in name:
        return
    thought = part.get("thought") is True or re.search("think|thought|reason|summary", name)
    kind = "reasoning" if thought else kind
    for keys, of in ((_THOUGHT_KEYS, "reasoning"), (_TEXT_KEYS, kind)):
        found = next((part[key] for key in keys if part.get(key) not in (None, True, False)), None)
        if found is not None:
            yield found, of


def _is_media(part: dict[str, Any]) -> bool:
    name = part.get("type")
    return any(key in part for key in _MEDIA_KEYS) or (
        isinstance(name, str) and _MEDIA_TYPES.search(name) is not None
    )
