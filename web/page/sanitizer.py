"""The list of what HTML from a message may contain. Everything else is removed by nh3.

MathML is that of `latex`: elements that only place what is in them, without links, actions and
styles, and none that holds HTML of its own (`annotation-xml`).
"""

from typing import Final

import nh3
from pygments.token import STANDARD_TYPES

from web.page.extended_rules import CALLOUTS, TAGS
from web.page.latex import CLASSES

_ALIGNMENTS = {"left", "center", "right"}
_BLOCKS = ("p", "li", "blockquote", *(f"h{level}" for level in range(1, 7)))
_PLAIN = ("ul", "hr", "table", "thead", "tbody", "tr", "s", "br", "code", *TAGS)
_MATH = (
    *("math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "mroot", "msub"),
    *("msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts", "mprescripts"),
    *("mtable", "mtr", "mtd", "menclose", "mphantom", "mpadded"),
)
_SPACES = {"lspace", "rspace", "minsize", "maxsize"}
_YES_OR_NO = {"true", "false"}
_STYLES = {"displaystyle": _YES_OR_NO, "scriptlevel": {"0", "1", "2"}}

_CLEANER: Final = nh3.Cleaner(
    tags={*_BLOCKS, *_PLAIN, *_MATH, "ol", "th", "td", "a", "pre", "div", "span"},
    clean_content_tags=set(),
    attributes={
        **{tag: {"dir"} for tag in (*_BLOCKS, "th", "td", "ul", "table")},
        "a": {"href"},
        "ol": {"dir", "start"},
        "pre": {"data-language"},
        "div": {"data-tex", "data-note"},
        "span": {"data-tex"},
        "sup": {"data-note"},
        "mo": _SPACES,
        "mspace": {"width"},
        "mpadded": {"voffset", "width", "height", "depth"},
        "mfrac": {"linethickness"},
    },
    tag_attribute_values={
        "a": {"target": {"_blank"}},
        "blockquote": {"data-callout": set(CALLOUTS)},
        "math": {"display": {"block"}},
        "mi": {"mathvariant": {"normal"}},
        "mo": {
            **dict.fromkeys(("stretchy", "symmetric", "movablelimits", "fence"), _YES_OR_NO),
            "form": {"prefix", "infix", "postfix"},
        },
        **dict.fromkeys(("mrow", "mtable", "mfrac", "mpadded"), _STYLES),
        "mover": {"accent": _YES_OR_NO},
        "munder": {"accentunder": _YES_OR_NO},
        "munderover": {"accent": _YES_OR_NO, "accentunder": _YES_OR_NO},
        "menclose": {
            "notation": {"box", "updiagonalstrike", "downdiagonalstrike", "horizontalstrike"}
            | {"updiagonalstrike downdiagonalstrike"}
        },
    },
    allowed_classes={
        "th": _ALIGNMENTS,
        "td": _ALIGNMENTS,
        "li": {"task"},
        "sup": {"footnote"},
        "div": {"math", "shown", "wide", "table", "footnote"},
        "pre": {"code"},
        "span": {"math", "shown", "wide", "box", *filter(None, STANDARD_TYPES.values())},
        "mrow": {"radicand"},
        "mtd": set(CLASSES),
        "mspace": set(CLASSES),
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
