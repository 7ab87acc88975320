"""What may be said of answers whose readers leave."""

import re

import pytest

from shared.disconnects import PATTERN, seconds_of


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("continue", None),
        ("stop", 0.0),
        ("stop-after=0", 0.0),
        ("stop-after=30", 30.0),
        ("stop-after=2.5", 2.5),
        ("stop-after=99999.999", 99_999.999),
    ],
)
def test_policy_is_seconds(said: str, seconds: float | None) -> None:
    assert seconds_of(said) == seconds
    assert re.search(PATTERN, said)


@pytest.mark.parametrize(
    "said",
    ["", "Stop", "stop ", "stop\n", "stop-after", "stop-after=", "stop-after=-1", "stop-after=1e3",
     "stop-after=100000", "stop-after=1.", "stop-after=٣", "stop-after=nan", "continue, stop"],
)  # fmt: skip
def test_anything_else_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="continue, stop or stop-after=SECONDS"):
        seconds_of(said)
