"""Flask-Compress, configured: static text, pages and short JSON are sent compressed.

Never a stream: events are sent as they come, and long JSON compresses itself (`web/responses.py`).

Nothing compressed is kept. To compress a file of a page again costs less than a millisecond, and a
cache needs rules for what it may forget. An answer that mixes strangers' text with a user's own is
no danger here (BREACH), because no other site can make a browser request one (`web/auth/site.py`).
"""

from typing import Final

from flask import Flask
from flask_compress import Compress

_TYPES: Final = (
    "text/html",
    "text/css",
    "text/javascript",
    "application/javascript",
    "image/svg+xml",
    "application/json",
)


def register(app: Flask) -> None:
    """Compress what is sent whole, if the client accepts gzip."""
    app.config |= {
        "COMPRESS_MIMETYPES": _TYPES,
        "COMPRESS_STREAMS": False,
        # What every client accepts. Only one, so that a compressed file has one ETag.
        "COMPRESS_ALGORITHM": ("gzip",),
        # 6 takes three times as long as 3, while the loop waits; the first page is 7 % smaller.
        "COMPRESS_LEVEL": 6,
    }
    Compress(app)
