"""The real nginx in front of a web process, with the block that operations.md shows.

One process in a temporary folder, which ends with us like every server that tests start. It speaks
HTTP/1.1 at `url` and, with a certificate made for this run, HTTP/2 over TLS at `tls_url`.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from local import data_dirs, ports
from local.processes import ROOT, Command
from local.server import Server, answers
from tests.foreign import need

#: Where the documented block says that our web process listens.
DOCUMENTED: Final = "http://127.0.0.1:8000"

_CONFIG: Final = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
{user}
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {servers}
}}
"""
_SERVERS: Final = """\
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
    server {{
        listen 127.0.0.1:{tls_port} ssl http2;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        {location}
    }}
"""


def documented_location() -> str:
    """The `location` blocks of docs/operations.md."""
    blocks = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.S)
    [block] = blocks
    assert block.count(DOCUMENTED) == 1
    return str(block)


class Nginx(Server):
    """See the module. `target` is the URL that stands in for the documented one."""

    name = "nginx"

    def __init__(self, folder: Path, target: str) -> None:
        super().__init__()
        self.program = need("nginx")
        self.folder = folder
        self.log = folder / "nginx.log"
        self.target = target
        self.port, self.tls_port = ports.choose(), ports.choose()
        _make_certificate(folder)

    @property
    def url(self) -> str:
        """Where it speaks HTTP/1.1."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        """Where it speaks HTTP/2 (and 1.1) over TLS, with a certificate of our own."""
        return f"https://127.0.0.1:{self.tls_port}"

    def config(self) -> str:
        """Its configuration: both servers have the documented block."""
        return self.frame(
            _SERVERS.format(
                folder=self.folder,
                port=self.port,
                tls_port=self.tls_port,
                location=documented_location().replace(DOCUMENTED, self.target),
            )
        )

    def frame(self, servers: str) -> str:
        """The whole of a configuration file with these servers."""
        return _CONFIG.format(
            folder=self.folder,
            # As root it would change to a user that cannot enter the temporary folder.
            user="user root root;" if os.geteuid() == 0 else "",
            servers=servers,
        )

    def command(self) -> Command:
        config = self.folder / "nginx.conf"
        config.write_text(self.config())
        return Command([self.program, "-p", str(self.folder), "-c", str(config)], self.log)

    def ready(self) -> bool:
        """Whether it answers, whatever web does."""
        request = b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
        return answers(self.port, request, b"Server: nginx")

    def ended(self) -> None:
        """Kill the worker process, which outlives a killed master."""
        super().ended()
        self.signal_rest()

    def errors(self) -> str:
        """What it has logged."""
        return (self.folder / "error.log").read_text()


class DeployedNginx(Nginx):
    """nginx with the configuration of docs/deploy.md; `changed`: what a test replaces in it."""

    def __init__(self, folder: Path, target: str, changed: Mapping[str, str]) -> None:
        super().__init__(folder, target)
        self.changed = changed

    def config(self) -> str:
        blocks = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/deploy.md").read_text(), re.S)
        [text] = blocks
        certificates = "/etc/letsencrypt/live/chat.example.org"
        here = {
            f"{certificates}/fullchain.pem": f"{self.folder}/certificate.pem",
            f"{certificates}/privkey.pem": f"{self.folder}/key.pem",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.tls_port} ssl http2;",
            "listen 80;": f"listen 127.0.0.1:{self.port};",
            "listen [::]:443 ssl http2;": "",  # where the tests run there may be no IPv6
            "listen [::]:80;": "",
            "chat.example.org": "localhost",
            "http://127.0.0.1:8000": self.target,
            "https://$host$request_uri": f"https://$host:{self.tls_port}$request_uri",
        }
        for old, new in {**here, **self.changed}.items():
            assert old in text, old
            text = text.replace(old, new)
        return self.frame(text)

    @property
    def tls_url(self) -> str:
        return f"https://localhost:{self.tls_port}"


@contextmanager
def nginx(target: str) -> Iterator[Nginx]:
    """A running nginx in front of `target`, a URL without a path."""
    with data_dirs.temporary() as folder, Nginx(folder, target) as server:
        yield server


def _make_certificate(folder: Path, days: int = 60) -> None:
    subprocess.run(
        [
            need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days), "-subj", "/CN=localhost",
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem"),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
