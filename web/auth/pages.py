"""Which requests are for a page, and which page a person may be sent to after signing in."""

import re
from typing import Final
from urllib.parse import urlencode

from flask import Request

SIGN_IN: Final = "/sign-in"
#: The one page below /api/.
DOCS: Final = "/api/docs"
#: A path on this host, which no browser takes for another host: `//` and `/\\` would be one.
_PATH: Final = re.compile(
    r"/(?:[A-Za-z0-9_~-][A-Za-z0-9_.~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*/?)?"
    r"(?:\?[A-Za-z0-9_.~=&%-]*)?",
    re.ASCII,
)
#: Characters of a path that is gone back to.
_LONGEST: Final = 500


def is_navigation(request: Request) -> bool:
    """Whether a browser asks for a page, to show it."""
    return (
        request.method in ("GET", "HEAD")
        and "text/html" in request.environ.get("HTTP_ACCEPT", "")
        and request.environ.get("HTTP_SEC_FETCH_MODE", "navigate") == "navigate"
        and is_page(request.path)
        and not request.path.startswith("/static/")
    )


def is_framed_page(request: Request) -> bool:
    """Whether a browser asks for a page to show it in a frame. Which sites may is for the browser
    to enforce, by the page's `frame-ancestors`: a request does not say who has the frame."""
    return (
        request.method in ("GET", "HEAD")
        and request.environ.get("HTTP_SEC_FETCH_DEST") == "iframe"
        and request.environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
        and (request.path in ("/", SIGN_IN) or request.path.startswith("/c/"))
    )


def is_page(path: str) -> bool:
    """Whether a link may lead to this path; it is none of those that pages send requests to."""
    return path == DOCS or not path.startswith(("/api", "/v1/"))


def safe_path(path: str) -> str:
    """The path, if it leads to a page of this service; else that of the first page."""
    fits = len(path) <= _LONGEST and _PATH.fullmatch(path) is not None
    leads_back = is_page(path.partition("?")[0]) and not path.startswith(SIGN_IN)
    return path if fits and leads_back else "/"


def asked_path(request: Request) -> str:
    """What the request asks for, if it can be gone back to; else the path of the first page."""
    query = request.query_string.decode("ascii", "replace")
    return safe_path(f"{request.path}?{query}" if query else request.path)


def sign_in_path(back: str, problem: str = "") -> str:
    """Where to sign in, to go to the path `back` then; `problem`: what went wrong, one word."""
    given = {"problem": problem, "next": "" if back == "/" else back}
    query = urlencode({name: value for name, value in given.items() if value}, safe="/")
    return f"{SIGN_IN}?{query}" if query else SIGN_IN
