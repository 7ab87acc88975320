"""A push service with one browser: it takes what this service sends, and decrypts it really."""

import base64
import json
import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from shared.vapid import decoded, encoded, public_bytes

KEY = encoded(bytes(range(1, 33)))


class Received(NamedTuple):
    """A message as the browser has it, and how the push service got it."""

    said: dict[str, Any]
    headers: dict[str, str]
    path: str


class PushReceiver:
    """`status`: what it answers. `received`: a queue of all that came and could be decrypted."""

    def __init__(self) -> None:
        self.status = 201
        self.location = ""
        self.received: queue.Queue[Received] = queue.Queue()
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._secret = os.urandom(16)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(self.path, dict(self.headers), body)
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a deployment that may send here."""
        return {"OUTLIVE_PUSH_KEY": KEY, "OUTLIVE_PUSH_SERVICES": self.origin}

    def subscription(self, name: str) -> dict[str, Any]:
        """What the browser gives a page that subscribes."""
        keys = {
            "p256dh": encoded(public_bytes(self._private.public_key())),
            "auth": encoded(self._secret),
        }
        return {"endpoint": f"{self.origin}/{name}", "keys": keys}

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Check who sends, and decrypt."""
        proof, _, key = headers["Authorization"].removeprefix("vapid t=").partition(", k=")
        sender = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(key))
        claims = jwt.decode(proof, sender, algorithms=["ES256"], audience=self.origin)
        assert urlsplit(claims["sub"]).scheme in ("mailto", "https")
        plain = http_ece.decrypt(body, private_key=self._private, auth_secret=self._secret)
        self.received.put(Received(json.loads(plain), headers, path))

    def next(self, seconds: float = 30) -> Received:
        """The next message."""
        return self.received.get(timeout=seconds)


@contextmanager
def receiving() -> Iterator[PushReceiver]:
    """A receiver that listens."""
    receiver = PushReceiver()
    Thread(target=receiver.server.serve_forever, daemon=True).start()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def rfc_8291() -> tuple[bytes, ec.EllipticCurvePrivateKey, bytes]:
    """The example of RFC 8291, 5: a body, and the keys that read it."""

    def read(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    body = read(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6T"
        "lzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4"
        "a-fN"
    )
    private = ec.derive_private_key(
        int.from_bytes(read("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")), ec.SECP256R1()
    )
    return body, private, read("BTBZMqHH6r4Tts7J_aSIgg")
