"""Flower's process, with a guard in front: `python -m worker.flower --port=5555`.

Flower shows what workers do and can stop them. So each request passes the guard before it reaches
Flower:

1. `Host` must be a name of this machine, or that of `OUTLIVE_FLOWER_URL`: no DNS rebinding.
2. No page of another site may have sent it (`shared.origins`). This is checked before credentials,
   because a browser adds stored ones to the requests of any page.
3. It must have a credential (`FLOWER_BASIC_AUTH`), or the cookie that the operator's link set;
   except for `/healthcheck`. With OAuth (`FLOWER_AUTH`), this check is Flower's own.

Options are Flower's own, on the command line and as FLOWER_ variables. It does not start without
credentials or FLOWER_AUTH, and listens on the loopback unless FLOWER_ADDRESS is set.
"""

import atexit
import base64
import hmac
import os
import signal
import sys
from types import FrameType
from typing import Any, Final, cast
from urllib.parse import urlsplit

import structlog
from flower.app import Flower
from flower.command import apply_env_options, apply_options, extract_settings
from flower.urls import settings as flower_settings
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.options import options
from tornado.web import OutputTransform, RequestHandler

from shared import flower_access, logs, origins
from worker.app import app, settings

#: The cookie of a browser that has signed in. The port is added, as cookies ignore ports.
_COOKIE: Final = "outlive-flower"

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

log = structlog.get_logger("flower")


class GuardedFlower(Flower):
    """Flower's application with the guard in front."""

    def __init__(self, credentials: list[str], hosts: frozenset[str], **options_: Any) -> None:
        """`credentials`: name:password each; without any, Flower's own sign-in decides."""
        super().__init__(transforms=[_Headers], **options_)
        self.credentials = credentials
        self._hosts = hosts

    @property
    def cookie(self) -> str:
        """The name of our cookie."""
        return f"{_COOKIE}-{self.options.port}"

    @property
    def home(self) -> str:
        """The path of Flower's first page."""
        prefix = (self.options.url_prefix or "").strip("/")
        return f"/{prefix}/" if prefix else "/"

    def find_handler(self, request: HTTPServerRequest, **options_: Any) -> Any:
        """The handler of a request: Flower's, or the guard's."""
        path = "/" + request.path.removeprefix(self.home)
        refusal = self._refusal(request, path)
        if refusal is not None:
            return self.get_handler_delegate(request, RefusalHandler, {"refusal": refusal})
        if path == flower_access.SIGN_IN and self.credentials:
            return self.get_handler_delegate(request, SignInHandler)
        if path != "/healthcheck" and self.credentials:
            credential = self._credential(request)
            if credential is None:
                missing = {"refusal": _SIGN_IN_FIRST}
                return self.get_handler_delegate(request, RefusalHandler, missing)
            # Flower itself checks the credential again, which a cookie stands for.
            shown = base64.b64encode(credential.encode()).decode()
            request.headers["Authorization"] = f"Basic {shown}"
        return super().find_handler(request, **options_)

    def _refusal(self, request: HTTPServerRequest, path: str) -> tuple[int, str] | None:
        header = request.headers.get
        if not (str(request.uri).startswith("/") and origins.is_known(header("Host"), self._hosts)):
            return 403, "Flower answers to its own name only (another one: OUTLIVE_FLOWER_URL)."
        followed = header("Sec-Fetch-Site") not in (None, "none", "same-origin")
        if origins.is_foreign(str(request.method), header) or (
            followed and path.startswith("/api/")
        ):
            return 403, "Requests from other sites are refused."
        return None

    def _credential(self, request: HTTPServerRequest) -> str | None:
        """The credential of the request: sent as such, or as a cookie."""
        shown = _basic(request.headers.get("Authorization", ""))
        cookie = request.cookies.get(self.cookie)
        kept = cookie.value if cookie else ""
        for credential in self.credentials:
            session = flower_access.session_token(credential)
            if _same(shown, credential) or _same(kept, session):
                return credential
        return None


_SIGN_IN_FIRST: Final = (401, "Follow the link that `outlive up` or /live shows, or sign in.")


def _basic(header: str) -> str:
    """The credential of an Authorization header; empty if it has none."""
    kind, _, shown = header.partition(" ")
    try:
        return base64.b64decode(shown).decode() if kind.lower() == "basic" else ""
    except ValueError:
        return ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


class RefusalHandler(RequestHandler):
    """Refuses a request of any method."""

    def initialize(self, refusal: tuple[int, str]) -> None:
        """`refusal`: status and sentence."""
        self._refusal = refusal

    def check_xsrf_cookie(self) -> None:
        """Check nothing, as it is refused anyway."""

    def prepare(self) -> None:
        """Answer before the method is looked up."""
        status, sentence = self._refusal
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if status == 401:
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        self.finish(f"{sentence}\n")


class SignInHandler(RequestHandler):
    """The operator's link: sets a cookie for the token and redirects to an address without it."""

    def get(self) -> None:
        """Redirect to the first page; 401 for a wrong token."""
        application = cast("GuardedFlower", self.application)
        token = self.get_query_argument("token", "")
        for credential in application.credentials:
            if _same(token, flower_access.link_token(credential)):
                session = flower_access.session_token(credential)
                self.set_cookie(
                    application.cookie, session, path="/", httponly=True, samesite="Strict"
                )
                self._redirect_to(application.home)
                return
        self.set_status(401)
        self.finish("This link is from another start. Follow the one that `outlive up` shows.\n")

    def _redirect_to(self, home: str) -> None:
        """Redirect with a 303; after a link from another site by a page, as browsers would send no
        cookie with the 303."""
        if self.request.headers.get("Sec-Fetch-Site") == "cross-site":
            self.finish(f'<!doctype html><meta http-equiv="refresh" content="0; url={home}">')
        else:
            self.redirect(home, status=303)


class _Headers(OutputTransform):
    """Sets the headers by which browsers know what they may do with a response of any handler."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Add our headers, and remove those that let other sites read the response."""
        for name in [name for name in headers if name.lower().startswith("access-control-")]:
            del headers[name]
        for name, value in _HEADERS.items():
            headers[name] = value
        return super().transform_first_chunk(status_code, headers, chunk, finishing)


def hosts() -> frozenset[str]:
    """The names that Flower answers to."""
    named = urlsplit(settings.flower_url or "").netloc.rpartition("@")[2].lower()
    return origins.LOCAL_NAMES | ({named} if named else frozenset())


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM or SIGINT."""
    apply_env_options()
    apply_options("flower", arguments)
    os.environ.pop("FLOWER_UNAUTHENTICATED_API", None)  # it would open what the guard closes
    extract_settings()
    logs.configure()
    if not (options.basic_auth or options.auth):
        sys.exit("Flower can stop workers, so it needs a sign-in: FLOWER_BASIC_AUTH=name:password.")
    if not options.address:
        options.address = "127.0.0.1"
    server = GuardedFlower(
        list(options.basic_auth or []), hosts(), capp=app, options=options, **flower_settings
    )
    atexit.register(server.stop)
    signal.signal(signal.SIGTERM, _end)
    server.start_http_server()
    log.info("flower.started", address=options.address, port=options.port)
    try:
        server.start()
    except (KeyboardInterrupt, SystemExit):
        return


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
