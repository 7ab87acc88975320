"""Static files at one address each, and HEAD for every address."""

import re
from pathlib import Path

import pytest

from local.processes import children
from local.programs import Web, Worker
from scripted import done, finish, long, script
from tests.client import Client
from tests.rig import Rig, killing
from tests.web.wire import EVENTS, STRANGER, raw


@pytest.mark.parametrize(
    "path",
    [
        "/static/x/..%2flayout.css",
        "/static/x/../layout.css",
        "/static/./layout.css",
        "/static/%2e/layout.css",
        "/static/..%2fstatic%2flayout.css",
        "/static/layout.css%2f",
        "/static/layout.css%00",
        "/static/..%5clayout.css",
        "/static/x%5c..%5clayout.css",
        "/static/../app.py",
        "/static/..%2f..%2fpyproject.toml",
    ],
)
def test_static_file_has_one_address(web: Web, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
    assert raw(web, head.encode()).status == 404


def test_many_addresses_leave_nothing_in_memory(rig: Rig) -> None:
    web = rig.web(WEB_CONCURRENCY="1")
    with killing(web), Client(web.url) as client:

        def ask(first: int, number: int) -> int:
            for n in range(first, first + number):
                client.http.get(f"/static/{n}/..%2fapp.js", headers={"Accept-Encoding": "gzip"})
                client.http.get(f"/static/app.js?{n}", headers={"Accept-Encoding": f"gzip;q=0.{n}"})
            return _memory(web)

        before = ask(0, 200)
        assert ask(200, 600) - before < 4 << 20  # it was 15 kB each


def _memory(web: Web) -> int:
    """Bytes that the only process of a web master holds."""
    [process] = children(web.pid)
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def test_head_answers_like_get(client: Client, worker: Worker) -> None:
    """Status and headers, of what is there and of what is not."""
    place = client.conversation()
    answer = client.ask(script(long(10), finish(), done()), place)
    client.ended(answer)
    there = [f"/api/conversations/{place}", f"/api/messages/{answer}", f"/c/{place}"]
    faces = ["stream", "stream?after=end", "stream?after=-1", "stream?after=5", "blocks/stream"]
    there += [f"/api/messages/{answer}/{face}" for face in [*faces, "blocks"]]
    unknown = [path.replace(place, STRANGER).replace(answer, STRANGER) for path in there]
    others = [
        "/", "/api", "/api/nothing", "/api/conversations", "/api/conversations?limit=0",
        "/api/search?q=a", "/api/sidebar", f"/api/conversations/{place}/turns", "/api/models",
        f"/api/messages/{answer}/stop", "/healthz", "/readyz", "/static/app.js", "/static/none.js",
    ]  # fmt: skip

    for path in [*there, *unknown, *others]:
        get, head = client.http.get(path), client.http.head(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        for name in ("content-type", "cache-control", "allow", "x-accel-buffering"):
            assert head.headers.get(name) == get.headers.get(name), path
        length = head.headers.get("content-length")
        assert length is None or length == get.headers.get("content-length"), path
    with client.http.stream("GET", "/api/notices") as get:
        head = client.http.head("/api/notices")
        assert (head.status_code, head.headers["content-type"]) == (200, EVENTS)
        assert (get.status_code, get.headers["content-type"]) == (200, EVENTS)
