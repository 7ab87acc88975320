"""What a browser says it is, coarsely: "phone Safari". Pure."""

import re
from typing import Final, Protocol


class Headers(Protocol):
    """The headers of a request."""

    def get(self, name: str, default: str, /) -> str:
        """The header, or the default."""


#: Browsers by what stands in `User-Agent`; most claim to be several, so the first that fits counts.
_BROWSERS: Final = (
    (re.compile(r"Edg(e|A|iOS)?/"), "Edge"),
    (re.compile(r"OPR/|OPT/"), "Opera"),
    (re.compile(r"SamsungBrowser/"), "Samsung"),
    (re.compile(r"Firefox/|FxiOS/"), "Firefox"),
    (re.compile(r"Chrome/|CriOS/|Chromium/"), "Chrome"),
    (re.compile(r"Version/\S+ .*Safari/"), "Safari"),
)
_TABLET: Final = re.compile(r"iPad|Tablet|Android(?!.*Mobile)")
_PHONE: Final = re.compile(r"Mobi|iPhone|iPod")
#: Characters of a header that are read.
_MOST: Final = 500


def device_of(headers: Headers) -> str | None:
    """The kind of a device and its browser, in words of ours; None for what is no browser."""
    agent = headers.get("User-Agent", "")[:_MOST]
    browser = next((name for pattern, name in _BROWSERS if pattern.search(agent)), None)
    if browser is None:
        return None
    if _TABLET.search(agent):
        kind = "tablet"
    elif headers.get("Sec-CH-UA-Mobile", "") == "?1" or _PHONE.search(agent):
        kind = "phone"
    else:
        kind = "desktop"
    return f"{kind} {browser}"
