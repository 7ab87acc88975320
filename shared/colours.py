"""An operator's colours: read, compared with the page's paper, and completed. Pure.

Text and buttons in a colour must be readable: WCAG 2.2 asks for a contrast of 4.5 (1.4.3).
"""

import re
from typing import Final, NamedTuple

#: The contrast that text has at least.
LEAST: Final = 4.5
#: The page's backgrounds (`base.css`), light and dark: the ones nearest to text.
LIGHT: Final = ("#ffffff", "#f4f2ec")
DARK: Final = ("#23211e", "#191816")
WHITE: Final = "#ffffff"
BLACK: Final = "#10150f"
#: Steps from a colour to white, in which one for dark pages is searched.
STEPS: Final = 20


class Accent(NamedTuple):
    """The colour of links and buttons on light and on dark pages, and of the words on each."""

    light: str
    on_light: str
    dark: str
    on_dark: str


def accent(text: str) -> Accent | None:
    """`#rrggbb`, or two of them with a comma between: for light and for dark pages.

    Without the second one it is made from the first. None for an empty text. Raises ValueError.
    """
    found = [one.strip().lower() for one in text.split(",") if one.strip()]
    if not found:
        return None
    if len(found) > 2 or not all(re.fullmatch("#[0-9a-f]{6}", one) for one in found):
        raise ValueError("must be a colour like #1d6b52, or two: for light and for dark pages")
    light = found[0]
    _must_be_readable(light, LIGHT, "light")
    dark = found[1] if len(found) == 2 else _lightened(light)
    _must_be_readable(dark, DARK, "dark")
    return Accent(light, _words_on(light), dark, _words_on(dark))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _must_be_readable(colour: str, papers: tuple[str, ...], name: str) -> None:
    least = min(contrast(colour, paper) for paper in papers)
    if least < LEAST:
        raise ValueError(
            f"has {colour} for {name} pages, whose contrast is {least:.1f}: text needs {LEAST}"
        )


def _words_on(colour: str) -> str:
    return max((WHITE, BLACK), key=lambda words: contrast(words, colour))


def _lightened(colour: str) -> str:
    """The first mixture with white that can be read on dark pages."""
    parts = _parts(colour)
    for step in range(STEPS + 1):
        mixed = "#" + "".join(f"{part + (255 - part) * step // STEPS:02x}" for part in parts)
        if min(contrast(mixed, paper) for paper in DARK) >= LEAST:
            return mixed
    return WHITE  # pragma: no cover - white can be read


def _parts(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def _luminance(colour: str) -> float:
    red, green, blue = (
        part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4
        for part in _parts(colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
