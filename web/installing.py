"""What makes the page an app that can be installed and notified: its manifest and service worker.

Browsers ask for both by themselves, also when nobody is signed in, so there is nothing of a user in
them. The worker has to be at the root, as it is for all pages, and is compared byte by byte when a
page is opened; so it may not be kept.
"""

from typing import Final

from flask import Blueprint, Response, current_app, jsonify, url_for

from web.context import context

blueprint = Blueprint("installing", __name__)

#: The worker may call its own server, and load nothing.
_POLICY: Final = "default-src 'none'; connect-src 'self'"


@blueprint.get("/manifest.webmanifest")
def manifest() -> Response:
    """The name and the icons under which the page is installed."""
    icons = [
        {"src": url_for("static", filename=f"icon-{size}.png"), "sizes": f"{size}x{size}",
         "type": "image/png", "purpose": purpose}
        for size in (192, 512)
        for purpose in ("any", "maskable")
    ]  # fmt: skip
    response = jsonify(
        id="/",
        name=context().settings.name,
        short_name=context().settings.name,
        start_url="/",
        scope="/",
        display="standalone",
        background_color="#fbfaf7",
        theme_color="#fbfaf7",
        icons=icons,
    )
    response.mimetype = "application/manifest+json"
    response.headers["Cache-Control"] = "no-cache"
    return response


@blueprint.get("/service-worker.js")
def service_worker() -> Response:
    """The page's service worker."""
    response: Response = current_app.send_static_file("service-worker.js")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = _POLICY
    return response
