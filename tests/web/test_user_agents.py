"""What browsers say they are."""

import pytest

from web.user_agents import device_of

_APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (f"Mozilla/5.0 (X11; Linux x86_64) {_CHROME} Safari/537.36", "desktop Chrome"),
        (f"Mozilla/5.0 (Windows NT 10.0) {_CHROME} Safari/537.36 Edg/140.0", "desktop Edge"),
        (f"Mozilla/5.0 (Linux; Android 15) {_CHROME} Mobile Safari/537.36", "phone Chrome"),
        (f"Mozilla/5.0 (Linux; Android 15) {_CHROME} Safari/537.36", "tablet Chrome"),
        (f"Mozilla/5.0 (iPhone) {_APPLE} Version/18.0 Mobile/15E148 Safari/604.1", "phone Safari"),
        (f"Mozilla/5.0 (iPad) {_APPLE} CriOS/140 Mobile/15E148 Safari/604.1", "tablet Chrome"),
        (f"Mozilla/5.0 (Macintosh) {_APPLE} Version/18.0 Safari/605.1.15", "desktop Safari"),
        ("Mozilla/5.0 (X11; rv:140.0) Gecko/20100101 Firefox/140.0", "desktop Firefox"),
        ("Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "phone Firefox"),
        ("python-httpx/0.28", None),
        ("", None),
    ],
)
def test_a_device_is_known_by_its_header(agent: str, device: str | None) -> None:
    assert device_of({"User-Agent": agent}) == device


def test_a_hint_says_that_it_is_a_phone() -> None:
    agent = f"Mozilla/5.0 (X11; Linux x86_64) {_CHROME} Safari/537.36"
    assert device_of({"User-Agent": agent, "Sec-CH-UA-Mobile": "?1"}) == "phone Chrome"
