"""The comparison as a small picture: a panel for each row, a bar for each target.

By hand, in the manner of `bench.plotting`: its own background, readable in light and dark pages.
"""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from bench.plotting import FONT, MARGIN, WIDE, WIDTH
from bench.road.workloads import WORKLOADS, Row

if TYPE_CHECKING:
    from bench.road.comparison import Results

COLORS: Final = {
    "us": "#0d9488",
    "chat": "#5eead4",
    "before": "#b45309",
    "passthrough": "#64748b",
    "follower": "#7c3aed",
}
NAMES: Final = {
    "us": "Outlive",
    "chat": "by chat completions",
    "before": "another checkout",
    "passthrough": "Flask + openai, keeps nothing",
    "follower": "npm resumable-stream",
}
SHORT: Final = {
    "us": "Outlive",
    "chat": "chat",
    "before": "before",
    "passthrough": "passthrough",
    "follower": "follower",
}
HEAD: Final = 76
BAR, GAP, TITLE = 18, 22, 22
LABEL: Final = 84
INK, GREY = "#0f172a", "#475569"


def draw(results: "Results", workloads: Sequence[str], peers: Sequence[str]) -> str:
    """As SVG: every row that has a goal and was measured on more than one target."""
    panels = [
        (row, found)
        for name in workloads
        for row in WORKLOADS[name].rows
        if row.least and len(found := _values(results, name, row, peers)) > 1
    ]
    tall = TITLE + BAR * max(len(peers), 1) + GAP
    height = HEAD + -(-len(panels) // 2) * tall
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        "  <title>The road of a token, side by side</title>",
        f'  <rect width="{WIDTH}" height="{height}" rx="14" fill="#f8fafc"/>',
        _text(MARGIN, 28, "The road of a token, side by side on the same processors", INK,
              'font-size="15" font-weight="600"'),
    ]  # fmt: skip
    for number, peer in enumerate(peers):
        x: float = MARGIN + (0, 90, 240, 450, 600)[number]
        parts.append(f'  <rect x="{x}" y="42" width="10" height="10" fill="{COLORS[peer]}"/>')
        parts.append(_text(x + 16, 51, NAMES[peer], GREY))
    for number, (row, values) in enumerate(panels):
        x = MARGIN + number % 2 * (WIDE + MARGIN)
        parts += _panel(row, values, x, HEAD + number // 2 * tall)
    return "\n".join([*parts, "</svg>\n"])


def _values(results: "Results", workload: str, row: Row, peers: Sequence[str]) -> dict[str, float]:
    found = {peer: results.median(workload, peer, row.key) for peer in peers}
    return {peer: value / row.of for peer, value in found.items() if value is not None}


def _panel(row: Row, values: dict[str, float], x: float, y: float) -> list[str]:
    more = row.least[0].more
    title = f"{row.label}, {row.unit} ({'more' if more else 'less'} is better)"
    parts = [_text(x, y + 12, title, INK, 'font-weight="600"')]
    most, room = max(values.values()) or 1.0, WIDE - LABEL - 70
    for number, (peer, value) in enumerate(values.items()):
        top = y + TITLE + number * BAR
        wide = max(1.0, value / most * room)
        parts.append(_text(x, top + 11, SHORT[peer], GREY))
        parts.append(
            f'  <rect x="{x + LABEL:.1f}" y="{top}" width="{wide:.1f}" height="{BAR - 5}"'
            f' rx="2" fill="{COLORS[peer]}"/>'
        )
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        parts.append(_text(x + LABEL + wide + 6, top + 11, shown, INK))
    return parts


def _text(x: float, y: float, text: str, color: str, more: str = "") -> str:
    return f'  <text x="{x:.1f}" y="{y:.1f}" fill="{color}" {more}>{escape(text)}</text>'
