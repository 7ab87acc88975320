"""An operator's colours can be read on the page's paper."""

import re
from pathlib import Path

import pytest

from shared import colours
from shared.colours import LEAST, accent, contrast

SHEET = Path("web/page/static/base.css").read_text()


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#123456", "#123456") == 1


@pytest.mark.parametrize("colour", ["#1d6b52", "#0b3d91", "#8b0000", "#5b2a86", "#000000"])
def test_one_colour_is_enough_for_light_and_dark(colour: str) -> None:
    found = accent(colour)

    assert found is not None
    assert found.light == colour
    assert min(contrast(found.dark, paper) for paper in colours.DARK) >= LEAST
    assert contrast(found.light, found.on_light) >= LEAST
    assert contrast(found.dark, found.on_dark) >= LEAST


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#ffee00", "contrast is 1.1"),
        ("#1d6b52,#222222", "for dark pages"),
        ("green", "must be a colour"),
        ("#1d6b5", "must be a colour"),
        ("#1d6b52;}", "must be a colour"),
        ("#1d6b52,#7cc9a8,#ffffff", "must be a colour"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        accent(text)


def test_no_colour_is_none_and_the_papers_are_those_of_the_page() -> None:
    assert accent("") is None
    for name in ("paper", "card", "side"):
        [(light, dark)] = re.findall(rf"--{name}: light-dark\((#\w+), (#\w+)\);", SHEET)
        assert contrast("#000000", light) >= contrast("#000000", colours.LIGHT[1])
        assert contrast("#ffffff", dark) >= contrast("#ffffff", colours.DARK[0])
