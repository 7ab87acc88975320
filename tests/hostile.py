"""Requests that are meant to do harm: as bytes, and a program that sends them for a while.

    python -m tests.hostile URL CREDENTIAL SECONDS STREAM_PATH STREAMS

It comes from another address of this machine than the tests, so that limits per address tell the
two apart, and prints what it was answered as JSON.
"""

import collections
import functools
import json
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

#: The address that attacks come from.
ADDRESS: Final = "127.0.0.66"
#: The path of the request that is hidden in another one.
HIDDEN: Final = "/hidden-request"

_HIDDEN: Final = f"GET {HIDDEN} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _post(
    *headers: str, body: bytes = b"", hidden: bytes = _HIDDEN, place: str = "/api/conversations"
) -> bytes:
    start = (f"POST {place} HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    return "\r\n".join((*start, *headers, "", "")).encode("latin-1") + body + hidden


def _get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


_CHUNKED: Final = "Transfer-Encoding: chunked"

#: Requests whose length two programs might read differently; another one follows on the connection.
SMUGGLING: Final = {
    "CL.TE": _post("Content-Length: 6", _CHUNKED, body=b"0\r\n\r\n"),
    "TE.CL": _post(_CHUNKED, "Content-Length: 3", body=b"8\r\n"),
    "two lengths": _post("Content-Length: 2", "Content-Length: 40", body=b"{}"),
    "one length twice": _post("Content-Length: 2", "Content-Length: 2", body=b"{}"),
    "list of lengths": _post("Content-Length: 2, 2", body=b"{}"),
    "length with a sign": _post("Content-Length: +2", body=b"{}"),
    "negative length": _post("Content-Length: -2", body=b"{}"),
    "hexadecimal length": _post("Content-Length: 0x2", body=b"{}"),
    "length with a digit that is none": _post("Content-Length: \xb2", body=b"{}"),
    "length with an underscore": _post("Content-Length: 0_2", body=b"{}"),
    "empty length": _post("Content-Length: ", body=b"{}"),
    "huge length": _post("Content-Length: " + "9" * 400, body=b"{}"),
    "folded length": _post("Content-Length:\r\n 2", body=b"{}"),
    "folded chunked": _post("Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
    "blank before the colon": _post("Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "tab before chunked": _post("Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n"),
    "odd coding": _post("Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "chunked twice": _post("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "chunked not last": _post("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "two codings": _post(_CHUNKED, "Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "quoted coding": _post('Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "underscores": _post("Transfer_Encoding: chunked", "Content-Length: 2", body=b"{}", hidden=b""),
    "chunk with a sign": _post(_CHUNKED, body=b"+2\r\n{}\r\n0\r\n\r\n"),
    "chunk with 0x": _post(_CHUNKED, body=b"0x2\r\n{}\r\n0\r\n\r\n"),
    "chunk without its end": _post(_CHUNKED, body=b"2\r\n{}XX0\r\n\r\n"),
    "chunk that is shorter": _post(_CHUNKED, body=b"9\r\n{}\r\n0\r\n\r\n"),
    "chunk ended by LF": _post(_CHUNKED, body=b"2\n{}\r\n0\r\n\r\n"),
    "extension with a line end": _post(_CHUNKED, body=b"2;a=\n\r\n{}\r\n0\r\n\r\n"),
    "trailer": _post(_CHUNKED, body=b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n", hidden=b""),
    "lines ended by LF": b"GET /api/usage HTTP/1.1\nHost: localhost\n\n" + _HIDDEN,
    "a line ended by CR": b"GET /api/usage HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n" + _HIDDEN,
    "two hosts": b"GET /api/usage HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + _HIDDEN,
    "chunked in HTTP/1.0": _post(_CHUNKED, body=b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "HTTP/0.9": b"GET /api/usage\r\n\r\n" + _HIDDEN,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _HIDDEN,
    "upgrade": b"GET /api/usage HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: h2c\r\nContent-Length: 400\r\n\r\n" + _HIDDEN,
    "body of a GET": b"GET /api/usage HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    % len(_HIDDEN) + _HIDDEN,
    "body that is not read": _post(f"Content-Length: {len(_HIDDEN)}"),
    "body with Expect": _post("Expect: 100-continue", f"Content-Length: {len(_HIDDEN)}"),
}  # fmt: skip

#: Paths that lead elsewhere if somebody normalises them once too often.
PATHS: Final = (
    "/static/../../../../etc/passwd",
    "/static/%2e%2e/%2e%2e/shared/settings.py",
    "/static/..%2f..%2f..%2fetc%2fpasswd",
    "/static/..%5c..%5c..%5cshared%5csettings.py",
    "/static/%252e%252e/%252e%252e/etc/passwd",
    "/static//etc/passwd",
    "/static/%00app.js",
    "/static/app.js%00.css",
    "/static/app.js/",
    "/api/../metrics",
    "/healthz/../api/conversations",
    "/healthz/..%2fapi%2fconversations",
    "/healthz%2f..%2fapi%2fconversations",
    "/healthz;/api/conversations",
    "/healthz%3f/api/conversations",
    "/healthz#/api/conversations",
    "//api/conversations",
    "/api//conversations",
    "/./api/conversations",
    "/API/conversations",
    "/api/conversations%20",
    "/api/conversations/%ff%fe",
    "/api/conversations/%c0%ae%c0%ae",
    "/api/messages/%0d%0aX-Injected:%201/stream",
    "/c/%0d%0aX-Injected:%201",
    "/api/search?q=%0d%0aX-Injected:%201&limit=%0d%0a",
    "/api/conversations?cursor=%0aX-Injected:1",
    "/sign-in?next=//evil.example",
    "/sign-in?next=/%5cevil.example&problem=%0d%0aX-Injected:%201",
    "/sign-in/oidc?next=https://evil.example",
    "/sign-in/oidc/callback?code=%0d%0aX-Injected:%201&state=%00",
    "/sign-in/oidc/callback?state=" + "s" * 6_000,
    "/sign-in/../api/conversations",
    "/sign-in/oidc/..%2f..%2fapi%2fexport",
    "/s/..%2f..%2fapi%2fexport",
    "/api/export?format=..%2f..%2fetc%2fpasswd",
    "/api/export?format=%0d%0aX-Injected:%201",
    "/api/shares/..%2f..%2fapi%2fuser%2fdelete",
    "http://localhost/api/conversations",
    "http://localhost@evil.example/healthz",
    "*",
)

#: JSON that is expensive or odd: each a whole body.
BODIES: Final = {
    "nested lists": b"[" * 4_000_000,
    "nested objects": b'{"a":' * 800_000,
    "nested in a field": b'{"content": ' + b"[" * 900_000 + b"]" * 900_000 + b"}",
    "a long number": b'{"content": ' + b"9" * 4_000_000 + b"}",
    "a long fraction": b'{"options": {"temperature": 0.' + b"1" * 3_000_000 + b"}}",
    "a huge exponent": b'{"content": "x", "options": {"temperature": 1e99999999999}}',
    "many fields": b"{" + b",".join(b'"f%d":0' % n for n in range(250_000)) + b"}",
    "many options": b'{"content": "x", "options": {'
    + b",".join(b'"f%d":0' % n for n in range(250_000))
    + b"}}",
    "a long name": b'{"' + b"n" * 3_900_000 + b'": 0}',
    "one field often": b"{" + b",".join([b'"content":"x"'] * 250_000) + b"}",
    "many items": b'{"content": [' + b"0," * 1_900_000 + b"0]}",
    "escapes": b'{"title": "' + b"\\ud800" * 600_000 + b'"}',
    "raw control characters": b'{"title": "' + bytes(range(32)) + b'"}',
    "not UTF-8": b'{"title": "\xed\xa0\x80\xff"}',
    "UTF-16": '{"title": "x"}'.encode("utf-16"),
    "a mark of order": b"\xef\xbb\xbf{}",
    "two values": b"{}{}",
    "NaN": b'{"content": NaN}',
}


class Line:
    """A connection from ADDRESS."""

    def __init__(self, url: str, seconds: float = 20.0) -> None:
        where = urlsplit(url)
        self.peer = socket.create_connection(
            (where.hostname or "", where.port or 80), seconds, (ADDRESS, 0)
        )

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *error: object) -> None:
        self.peer.close()

    def send(self, data: bytes) -> None:
        """Send; it may be cut off meanwhile."""
        with suppress(OSError):
            self.peer.sendall(data)

    def rest(self, seconds: float) -> bytes:
        """What comes until the end, or until nothing has come for that long."""
        self.peer.settimeout(seconds)
        received = b""
        with suppress(OSError):
            while more := self.peer.recv(1 << 16):
                received += more
        return received


def statuses(received: bytes) -> list[int]:
    """The statuses of all responses in there, but those that say to go on."""
    parts = received.split(b"HTTP/1.1 ")[1:]
    return [int(part[:3]) for part in parts if part[:3] != b"100"]


# --- the program ----------------------------------------------------------------------------------


def _jobs(credential: str, stream: str) -> Iterator[bytes]:
    """Requests without end; most are large. `stream`: the path of an answer's stream."""
    dice = random.Random(7)
    allowed = f"Authorization: Bearer {credential}"
    message = stream.removesuffix("/stream")
    shapes = [*SMUGGLING.values()]
    for body in BODIES.values():
        sent = f"Content-Length: {len(body)}"
        shapes += [
            _post(allowed, sent, body=body, hidden=b""),
            _post(sent, body=body, hidden=b"", place="/api/sign-in"),
            _post(allowed, sent, body=body, hidden=b"", place="/api/user/delete"),
        ]
    shapes += [_get(path) for path in PATHS]
    while True:
        number = dice.getrandbits(64)
        guess = b'{"login": "guess-%d", "password": "%d"}' % (number % 100, number)
        link = f"Authorization: Bearer ols_{number:043d}"
        yield from (
            dice.choice(shapes),
            _post(f"Content-Length: {len(guess)}", body=guess, hidden=b"", place="/api/sign-in"),
            _get(f"/sign-in/oidc/callback?code={number}&state={number}",
                 f"Cookie: outlive_oidc={number:043d}.Lw"),
            _get(message, link),
            _get(message, f"Cookie: outlive_session={number:043d}"),
            _get("/api/export", allowed),
        )  # fmt: skip


class Attack:
    """Several threads that do harm until the time is up."""

    def __init__(self, url: str, credential: str, seconds: float) -> None:
        self.url, self.credential = url, credential
        self.end = time.monotonic() + seconds
        self.answers: collections.Counter[str] = collections.Counter()

    def corpus(self, path: str) -> None:
        """One request after the other."""
        for job in _jobs(self.credential, path):
            if time.monotonic() > self.end:
                return
            with suppress(OSError), Line(self.url) as line:
                line.send(job)
                found = statuses(line.rest(0.3)) or [0]
                self.answers[f"corpus {found[0]}"] += 1

    def endless(self) -> None:
        """Bodies in chunks that never end: one fast, one slow."""
        head = _post(_CHUNKED, f"Authorization: Bearer {self.credential}", hidden=b"")
        while time.monotonic() < self.end:
            with suppress(OSError), Line(self.url) as line:
                line.send(head + b'1\r\n"\r\n')
                for _ in range(100):
                    line.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                found = statuses(line.rest(5)) or [0]
                self.answers[f"endless {found[0]}"] += 1

    def slow(self) -> None:
        """Many connections that say very little."""
        lines: list[Line] = []
        while time.monotonic() < self.end:
            with suppress(OSError):
                lines.append(Line(self.url))
            for line in lines[-300:]:
                line.send(b"GET / HTTP/1.1\r\nX: " if line is lines[-1] else b"x")
            time.sleep(0.02)
        self.answers["slow"] = len(lines)

    def streams(self, path: str, number: int) -> None:
        """Streams, all kept open."""
        request = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {self.credential}\r\n\r\n"
        ).encode()
        kept = []
        for _ in range(number):
            with suppress(OSError):
                line = Line(self.url)
                line.send(request)
                kept.append(line)
                found = statuses(line.peer.recv(4096)) or [0]
                self.answers[f"stream {found[0]}"] += 1
            if time.monotonic() > self.end:
                break
        time.sleep(max(0.0, self.end - time.monotonic()))


def main() -> None:
    """Attack, and print what was answered."""
    url, credential, seconds, path, number = sys.argv[1:]
    attack = Attack(url, credential, float(seconds))
    corpus = functools.partial(attack.corpus, path)
    streams = functools.partial(attack.streams, path, int(number))
    jobs: list[Callable[[], None]] = [corpus, corpus, attack.endless, attack.slow, streams]
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:  # one that still waits for the server ends with this process
        thread.join(max(0.0, attack.end + 2 - time.monotonic()))
    print(json.dumps(attack.answers))


if __name__ == "__main__":
    main()
