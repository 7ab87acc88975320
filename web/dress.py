"""An operator's dress of the pages: name, logo and colours, and what makes the page an app.

Browsers ask for all of it also when nobody is signed in, so there is nothing of a user in it. The
service worker has to be at the root, as it is for all pages, and is compared byte by byte when a
page is opened; so it may not be kept.
"""

from pathlib import Path
from typing import Final, NamedTuple

from flask import Blueprint, Flask, Response, current_app, jsonify, url_for
from werkzeug.exceptions import NotFound

from shared import colours
from shared.settings import Settings, logo_type
from web.context import context

blueprint = Blueprint("dress", __name__)

#: The worker may call its own server, and load nothing.
_WORKER_POLICY: Final = "default-src 'none'; connect-src 'self'"
#: More specific than the sheets' own; a page in which light or dark was chosen follows that.
_CSS: Final = """\
@supports (color: light-dark(red, red)) {{
  :root:root:root {{
    --accent: light-dark({light}, {dark});
    --on-accent: light-dark({on_light}, {on_dark});
  }}
}}
"""


class Dress(NamedTuple):
    """What templates show: the name, the logo's address, and whether there are own colours."""

    name: str
    logo: str
    coloured: bool
    #: the operator's suggestions, and whether those (or none) replace the page's own
    ideas: tuple[str, ...]
    suggests: bool
    instructions: str


def register(app: Flask, settings: Settings) -> None:
    """Give all templates `dress`."""

    @app.context_processor
    def with_dress() -> dict[str, Dress]:
        logo = url_for("dress.logo") if settings.logo else url_for("static", filename="icon.svg")
        return {
            "dress": Dress(
                settings.name,
                logo,
                bool(settings.colors),
                settings.ideas,
                bool(settings.suggestions),
                settings.instructions,
            )
        }


@blueprint.get("/dress.css")
def css() -> Response:
    """The operator's colours."""
    found = colours.accent(context().settings.colors)
    if found is None:
        raise NotFound
    return _kept(Response(_CSS.format(**found._asdict()), content_type="text/css; charset=utf-8"))


@blueprint.get("/logo")
def logo() -> Response:
    """The operator's logo."""
    file = context().settings.logo
    if not file:
        raise NotFound
    data = Path(file).read_bytes()
    return _kept(Response(data, content_type=logo_type(data)))


@blueprint.get("/manifest.webmanifest")
def manifest() -> Response:
    """The name and the icons under which the page is installed."""
    settings = context().settings
    icons = [
        {"src": url_for("static", filename=f"icon-{size}.png"), "sizes": f"{size}x{size}",
         "type": "image/png", "purpose": purpose}
        for size in (192, 512)
        for purpose in ("any", "maskable")
    ]  # fmt: skip
    if settings.logo:
        kind = logo_type(Path(settings.logo).read_bytes())
        icons = [{"src": url_for("dress.logo"), "sizes": "any", "type": kind, "purpose": "any"}]
    response = jsonify(
        id="/",
        name=settings.name,
        short_name=settings.name,
        start_url="/",
        scope="/",
        display="standalone",
        background_color="#fbfaf7",
        theme_color="#fbfaf7",
        icons=icons,
    )
    response.mimetype = "application/manifest+json"
    return _kept(response)


@blueprint.get("/service-worker.js")
def service_worker() -> Response:
    """The page's service worker."""
    response: Response = current_app.send_static_file("service-worker.js")
    response.headers["Content-Security-Policy"] = _WORKER_POLICY
    return _kept(response)


def _kept(response: Response) -> Response:
    """The response, which a browser may keep if it asks whether it is still good."""
    response.headers["Cache-Control"] = "no-cache"
    return response
