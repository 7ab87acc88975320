"""What is sent smaller: static text, pages and JSON. Never a stream, which is sent as it comes.

Nothing compressed is kept: to compress a file of a page again costs less than a millisecond, and a
cache would have to know what it may forget. That strangers' text stands beside a person's own in
one answer is no danger here (BREACH): no other site can make a browser ask (web/auth.py).
"""

from typing import Final

from flask import Flask, Response
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
    """Compress what is not streamed, if the client takes it."""
    app.config |= {
        "COMPRESS_MIMETYPES": _TYPES,
        "COMPRESS_REGISTER": False,
        "COMPRESS_ALGORITHM": ("gzip",),  # one that everybody takes: so a file has one ETag
        # The loop waits for it. 3 takes a third of the time of 6, and the result is 5 % larger.
        "COMPRESS_LEVEL": 3,
    }
    compress = Compress(app)

    @app.after_request
    def compressed(response: Response) -> Response:
        return response if response.is_streamed else compress.after_request(response)
