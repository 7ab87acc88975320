"""Rules for markdown-it: footnotes, callouts, task lists, and HTML that is harmless. Pure.

Each of them is decided by the text of its own block, so that a finished block never changes:

* A footnote is shown under the label that its author gave it, where it stands: numbers, and places
  at the end, would depend on what comes later. A reference shows the label, whether or not the
  footnote is there yet; the page connects the two (`rich.js`).
* A callout is a quote whose first line is `[!NOTE]` or the like; the page names it in its language.
* A task is an item of a list that begins with `[ ]` or `[x]`.
* HTML is read where it is one of TAGS without attributes, and closed in the same paragraph. All
  other HTML is text.
"""

import re
from html import escape
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, paragraph
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from web.page.math_rules import INTERRUPTED, line_at

#: Elements that may be written as HTML; how deep they may nest.
TAGS: Final = ("sub", "sup", "kbd", "mark", "u", "b", "i", "ins", "del", "small", "strong", "em")
MAX_TAGS: Final = 16
CALLOUTS: Final = ("note", "tip", "important", "warning", "caution")

_TAG: Final = re.compile(rf"<(/?)({'|'.join(TAGS)}|br(?=\s*/?>))\s*/?>", re.IGNORECASE)
# No sets of characters of a regular expression, such as [^a-z].
_LABEL: Final = r"\[\^(\d{1,3}|[^\W\d]\w{2,19})\]"
_REFERENCE: Final = re.compile(_LABEL)
_DEFINITION: Final = re.compile(_LABEL + r":[ \t]*")
_CALLOUT: Final = re.compile(rf"\[!({'|'.join(CALLOUTS)})\]\s*", re.IGNORECASE)
_TASK: Final = re.compile(r"\[([ xX])\][ \t]+")


def install(markdown: MarkdownIt) -> None:
    """Add the rules."""
    markdown.block.ruler.before("paragraph", "footnote", _footnote, {"alt": INTERRUPTED})
    markdown.inline.ruler.before("link", "footnote_reference", _reference)
    markdown.inline.ruler.before("autolink", "harmless_html", _html)
    markdown.core.ruler.push("extended", _extend)


def _footnote(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A paragraph that begins with `[^label]:`."""
    found = None if state.is_code_block(start) else _DEFINITION.match(line_at(state, start))
    if found is None or silent:
        return found is not None
    opened = state.push("footnote_open", "div", 1)
    opened.meta["label"] = found.group(1)
    begin, shift = state.bMarks[start], state.tShift[start]
    state.bMarks[start] += shift + found.end()
    state.tShift[start] = 0
    paragraph(state, start, end, False)
    state.bMarks[start], state.tShift[start] = begin, shift
    opened.map = [start, state.line]
    state.push("footnote_close", "div", -1)
    return True


def _reference(state: StateInline, silent: bool) -> bool:
    found = _REFERENCE.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.push("footnote_reference", "sup", 0).content = found.group(1)
    state.pos = found.end()
    return True


def _html(state: StateInline, silent: bool) -> bool:
    """A tag; which ones belong together is found when all are there."""
    found = _TAG.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        name = found.group(2).lower()
        token = state.push("hardbreak" if name == "br" else "harmless_tag", name, 0)
        token.content, token.info = found.group(), found.group(1)
    state.pos = found.end()
    return True


def _extend(state: StateCore) -> None:
    tokens = state.tokens
    for index, token in enumerate(tokens):
        if token.type == "inline" and token.children:
            _match_tags(token.children)
        begins = index + 2 < len(tokens) and tokens[index + 1].type == "paragraph_open"
        if begins and token.type == "list_item_open":
            _make_task(token, tokens[index + 2].children or [])
        elif begins and token.type == "blockquote_open":
            _make_callout(token, tokens[index + 1 : index + 4])


def _match_tags(children: list[Token]) -> None:
    """Those without a partner become text."""
    opened: list[Token] = []
    for token in children:
        if token.type != "harmless_tag":
            continue
        token.type = "text"
        if not token.info:
            opened.append(token)
        elif opened and opened[-1].tag == token.tag:
            if len(opened) <= MAX_TAGS:
                opened[-1].type = token.type = "harmless_tag"
            opened.pop()


def _make_task(item: Token, children: list[Token]) -> None:
    found = _TASK.match(children[0].content) if children and children[0].type == "text" else None
    if found is None:
        return
    children[0].content = children[0].content[found.end() :]
    box = Token("task", "span", 0)
    box.info = found.group(1)
    children.insert(0, box)
    item.attrSet("class", "task")


def _make_callout(quote: Token, first: list[Token]) -> None:
    """`first`: the tokens of the quote's first paragraph."""
    children = first[1].children or []
    found = _CALLOUT.fullmatch(children[0].content) if children else None
    if found is None or children[0].type != "text":
        return
    if len(children) > 1 and children[1].type not in ("softbreak", "hardbreak"):
        return
    quote.attrSet("data-callout", found.group(1).lower())
    del children[:2]
    if not children:
        for token in first:
            token.hidden = True


def task_html(token: Token) -> str:
    """A box, ticked or not."""
    return f'<span class="box">{"☐" if token.info == " " else "☑"}</span> '


def reference_html(token: Token) -> str:
    """A footnote's label, which refers to it."""
    label = escape(token.content)
    return f'<sup class="footnote" data-note="{label}">{label}</sup>'


def footnote_html(token: Token) -> str:
    """The beginning of a footnote."""
    label = escape(token.meta["label"])
    return f'<div class="footnote" data-note="{label}"><sup>{label}</sup>'
