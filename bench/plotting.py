"""Series of a soak as a small picture: panels over time, each from zero, so that flat is flat.

Written by hand, in the manner of docs/images/road.svg: its own background, so it can be read in
a light and in a dark page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Final

from bench.sampling import Series

MB: Final = 1_000_000.0
WEB, WORKER, REDIS, POSTGRES, READERS = "#7c3aed", "#0d9488", "#dc2626", "#2563eb", "#64748b"


@dataclass(frozen=True)
class Line:
    """One series of a panel."""

    series: str
    label: str
    color: str


@dataclass(frozen=True)
class Panel:
    """A title with its unit, what one unit is, and the lines."""

    title: str
    unit: float
    lines: tuple[Line, ...]


def _of(what: str, *names: str) -> tuple[Line, ...]:
    colors = {"web": WEB, "worker": WORKER, "redis": REDIS, "postgres": POSTGRES}
    labels = {"redis": "Redis", "postgres": "Postgres"}
    return tuple(Line(f"{n}.{what}", labels.get(n, n), colors[n]) for n in names)


PANELS: Final = (
    Panel("memory of web and worker, MB", MB, _of("anon", "web", "worker")),
    Panel("memory of Postgres and Redis, MB", MB, _of("anon", "postgres", "redis")),
    Panel("open descriptors", 1, _of("descriptors", "web", "worker")),
    Panel("TCP connections", 1, _of("tcp", "web", "worker")),
    Panel(
        "connections that the servers see",
        1,
        (
            Line("redis.clients", "Redis", REDIS),
            Line("postgres.backends", "Postgres", POSTGRES),
        ),
    ),
    Panel("data in Redis, MB", MB, (Line("redis.used", "Redis", REDIS),)),
    Panel(
        "the database, which keeps every answer, MB",
        MB,
        (Line("postgres.size", "Postgres", POSTGRES),),
    ),
    Panel("question to first text, median, ms", 1, (Line("first_text", "readers", READERS),)),
)

WIDTH, COLUMNS, MARGIN, HEAD = 960, 2, 24, 56
WIDE, HIGH, GAP = (WIDTH - MARGIN * 3) / 2, 132, 66
FONT: Final = (
    'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="12"'
)
#: Points of a line; more could not be seen.
POINTS: Final = 300


def draw(series: Mapping[str, Series], title: str) -> str:
    """The picture, as SVG."""
    panels = [panel for panel in PANELS if any(line.series in series for line in panel.lines)]
    rows = -(-len(panels) // COLUMNS)
    height = HEAD + rows * (HIGH + GAP)
    last = max((points[-1][0] for points in series.values() if points), default=1.0) or 1.0
    drawn = []
    for number, panel in enumerate(panels):
        x = MARGIN + number % COLUMNS * (WIDE + MARGIN)
        y = HEAD + number // COLUMNS * (HIGH + GAP)
        drawn += _panel(panel, series, x, y, last)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f"  <title>{escape(title)}</title>",
        f'  <rect width="{WIDTH}" height="{height}" rx="14" fill="#f8fafc"/>',
        _text(MARGIN, 30, title, "#0f172a", 'font-size="15" font-weight="600"'),
    )
    return "\n".join([*head, *drawn, "</svg>\n"])


def _panel(
    panel: Panel, series: Mapping[str, Series], x: float, y: float, last: float
) -> list[str]:
    """Title, frame, axes and lines of one panel, whose corner is at (x, y)."""
    known = [line for line in panel.lines if series.get(line.series)]
    values = [value for line in known for _, value in series[line.series]]
    top = ceiling(max(values, default=0) / panel.unit)
    left, width, base = x + 44, WIDE - 56, y + 20 + HIGH - 20
    plot = _Plot(left, base, width, HIGH - 20, last, top * panel.unit)
    parts = [_text(left, y + 10, panel.title, "#0f172a", 'font-weight="600"')]
    for share in (0, 0.5, 1):
        level = base - share * plot.height
        parts.append(
            f'  <path d="M{left} {level:.1f}h{width:.1f}" stroke="#cbd5e1"'
            f' stroke-width="{1 if share else 1.5}" fill="none"/>'
        )
        parts.append(_text(left - 6, level + 4, f"{top * share:g}", "#475569", _END))
    for share in (0, 0.5, 1):
        anchor = ("", _MIDDLE, _END)[int(share * 2)]
        parts.append(_text(left + share * width, base + 16, _moment(share * last), _GREY, anchor))
    for number, line in enumerate(known):
        parts.append(plot.line(series[line.series], line.color))
        at = left + width - 84 * (len(known) - 1 - number)
        parts.append(_text(at, y + 10, line.label, line.color, _END + ' font-weight="600"'))
    return parts


_GREY: Final = "#475569"
_MIDDLE: Final = 'text-anchor="middle"'
_END: Final = 'text-anchor="end"'


@dataclass(frozen=True)
class _Plot:
    """Where a panel's lines are drawn, and what its edges mean."""

    left: float
    base: float
    width: float
    height: float
    last: float
    top: float

    def line(self, points: Series, color: str) -> str:
        """One series as a path."""
        shown = points[:: max(1, len(points) // POINTS)]
        places = (
            f"{self.left + at / self.last * self.width:.1f}"
            f" {self.base - value / self.top * self.height:.1f}"
            for at, value in shown
        )
        return (
            f'  <path d="M{"L".join(places)}" fill="none" stroke="{color}" stroke-width="2"'
            ' stroke-linejoin="round"/>'
        )


def ceiling(value: float) -> float:
    """The next round number at or above a value: 1, 2, 4, 5 or 8 and zeros."""
    step = 1.0
    while step < value:
        step *= 10
    return next((step * part for part in (0.1, 0.2, 0.4, 0.5, 0.8) if step * part >= value), step)


def _moment(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 300 or not seconds else f"{seconds:.0f} s"


def _text(x: float, y: float, text: str, color: str, more: str = "") -> str:
    return f'  <text x="{x:.1f}" y="{y:.1f}" fill="{color}" {more}>{escape(text)}</text>'


def names() -> list[str]:
    """Every series that is drawn."""
    return [line.series for panel in PANELS for line in panel.lines]
