"""The site of the attack page, under any host name, and the open server that it is tried on."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page

SCRIPT = Path(__file__).with_name("attack.js").read_text()
#: The control's response to each kind of load.
CONTROL = {
    "/image": ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"),
    "/script": ("text/javascript", "0"),
    "/style": ("text/css", "p {}"),
    "/stream": ("text/event-stream", "data: x\n\n"),
    "/text": ("text/plain", "x"),
}


class Site(ThreadingHTTPServer):
    """Serves the attack page under any host name, and the open control below /control."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        #: (method, path) of the requests to the control
        self.asked: list[tuple[str, str]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        path = self.path.removeprefix("/control")
        if path == self.path:
            self._answer("text/html", "<!doctype html><body></body>")
            return
        self.server.asked.append((self.command, path))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(*CONTROL.get(path, CONTROL["/text"]))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

    def _answer(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
        self.send_header("Access-Control-Allow-Credentials", "true")
        self.send_header("Access-Control-Allow-Headers", "content-type")
        self.send_header("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def attack(page: Page, readable: list[str], writable: list[str]) -> list[list[str]]:
    """Way, URL and what it learned, of all that learned something."""
    page.add_script_tag(content=SCRIPT)
    code = "([readable, writable]) => attack(readable, writable)"
    found: list[list[str]] = page.evaluate(code, [readable, writable])
    return found
