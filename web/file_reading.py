"""Files of questions, for those who may read the question.

A file is what a stranger may have made, under our own origin. So it is sent as one of the types
that a browser shows without running anything, and `nosniff` (web/middleware.py) keeps the browser
from guessing another; every other type is only ever saved to disk. The policy lets a document that
is opened from here do nothing, in a sandbox of no origin.
"""

import uuid
from typing import Final

from flask import Blueprint, Response, request

from shared.store import files
from web.auth import current_user
from web.context import context
from web.questions import IMAGES

blueprint = Blueprint("file_reading", __name__, url_prefix="/api")

_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
)


@blueprint.get("/files/<uuid:file_id>")
def read_file(file_id: uuid.UUID) -> Response:
    """An image as what it is, any other file to be saved; to those who may read its question."""
    file = files.load(context().db, current_user(), file_id)
    is_image = file.type in IMAGES
    response = Response(
        file.data, content_type=file.type if is_image else "application/octet-stream"
    )
    response.headers["Content-Disposition"] = "inline" if is_image else "attachment"
    response.headers["Content-Security-Policy"] = _POLICY
    # Asked for again each time, as it may be revoked; the id stands for the content.
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(str(file.id))
    response.make_conditional(request)
    return response
