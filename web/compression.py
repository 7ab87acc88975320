"""What every page begins with, smaller on its way: static text and the pages themselves.

Nothing else: a stream is sent as it comes, and an answer that holds secrets beside a stranger's
text would tell them by its length.
"""

import gzip
from typing import Final

from flask import Flask, Response, request

_ENDPOINTS: Final = frozenset({"static", "pages.page", "pages.live"})
_TYPES: Final = frozenset(
    {"text/html", "text/css", "text/javascript", "application/javascript", "image/svg+xml"}
)
#: Bytes below which it is not worth it.
LEAST: Final = 500

#: path -> what it was compressed from, and that
_kept: dict[str, tuple[bytes, bytes]] = {}


def register(app: Flask) -> None:
    """Compress what may be, once."""
    app.after_request(_compressed)


def _compressed(response: Response) -> Response:
    if request.endpoint not in _ENDPOINTS or response.mimetype not in _TYPES:
        return response
    response.vary.add("Accept-Encoding")
    if response.status_code != 200 or not request.accept_encodings["gzip"]:
        return response
    response.direct_passthrough = False
    data = response.get_data()
    if len(data) < LEAST:
        return response
    known = _kept.get(request.path)
    if known is None or known[0] != data:
        known = data, gzip.compress(data, 9, mtime=0)
        if request.endpoint == "static":  # these are few
            _kept[request.path] = known
    response.set_data(known[1])
    response.headers["Content-Encoding"] = "gzip"
    etag, _ = response.get_etag()
    if etag is not None:
        response.set_etag(etag, weak=True)
    return response
