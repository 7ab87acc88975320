"""The site whose page sends a request: no other site's may act through a user's browser."""

from flask import Request

from shared import origins
from shared.errors import Forbidden
from web.auth.pages import is_page
from web.cors import LISTED


def check_site(here: Request) -> None:
    """No other site's page may write through a user's browser, nor read.

    A link from another site may lead to a page, but not to what a page requests: each stream holds
    one of the few connections that a browser opens to a site. A page of a listed origin may use the
    API, and needs a bearer token (`web/cors.py`).
    """
    if "HTTP_SEC_FETCH_SITE" not in here.environ and "HTTP_ORIGIN" not in here.environ:
        return  # no browser sent it
    if LISTED in here.environ:
        return
    site = here.headers.get("Sec-Fetch-Site", "none")
    from_elsewhere = site not in ("none", "same-origin")
    if origins.is_foreign(here.method, here.headers.get) or (
        from_elsewhere and not is_page(here.path)
    ):
        raise Forbidden(
            "This request comes from another site, which may not use this service. Open the"
            " service's own page instead.",
            "cross_site",
        )
