"""The list of what HTML from a message may contain. Everything else is removed by nh3."""

from typing import Final

import nh3
from pygments.token import STANDARD_TYPES

_ALIGNMENTS = {"left", "center", "right"}
_BLOCKS = ("p", "li", "blockquote", *(f"h{level}" for level in range(1, 7)))
_PLAIN = ("ul", "hr", "table", "thead", "tbody", "tr", "strong", "em", "s", "br", "code")

_CLEANER: Final = nh3.Cleaner(
    tags={*_BLOCKS, *_PLAIN, "ol", "th", "td", "a", "pre", "div", "span"},
    clean_content_tags=set(),
    attributes={
        **{tag: {"dir"} for tag in (*_BLOCKS, "th", "td")},
        "a": {"href"},
        "ol": {"start"},
        "pre": {"data-language"},
    },
    tag_attribute_values={"a": {"target": {"_blank"}}},
    allowed_classes={
        "th": _ALIGNMENTS,
        "td": _ALIGNMENTS,
        "div": {"math", "table"},
        "pre": {"code"},
        "span": {"math", *filter(None, STANDARD_TYPES.values())},
    },
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener nofollow noreferrer",
)


def clean(html: str) -> str:
    """The HTML without anything that is not on the list.

    nh3 cannot be interrupted, so the caller limits the length (0.1 ms per thousand characters).
    """
    return _CLEANER.clean(html)
