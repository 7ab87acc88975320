"""Credentials as a host product and an operator make them: signed tokens, key servers, keys."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import jwt
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

from cli.__main__ import outlive
from local.programs import Web
from tests.client import Client, new_id
from tests.rig import Rig

SECRET: Final = "the-host-product-signs-with-this-secret,-which-is-long-enough-for-SHA-512"
ISSUER: Final = "https://host.example"
AUDIENCE: Final = "outlive"


@dataclass(frozen=True)
class KeyPair:
    """A key pair of a host product."""

    make: Callable[[], Any]
    algorithm: str
    id: str = field(default_factory=new_id)

    @cached_property
    def private(self) -> Any:
        """The private key, made when it is first needed."""
        return self.make()

    @cached_property
    def jwk(self) -> dict[str, Any]:
        """The public key as it stands in a JWKS."""
        implementation = get_default_algorithms()[self.algorithm]
        return {
            **json.loads(implementation.to_jwk(self.private.public_key())),
            "kid": self.id,
            "use": "sig",
            "alg": self.algorithm,
        }

    @cached_property
    def pem(self) -> str:
        """The public key as PEM."""
        public = self.private.public_key()
        return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def new_rsa(bits: int = 2048) -> KeyPair:
    """A key pair for RS256."""
    return KeyPair(partial(rsa.generate_private_key, 65537, bits), "RS256")


def new_ec(curve: Any = ec.SECP256R1, algorithm: str = "ES256") -> KeyPair:
    """A key pair for ES256, or for another curve."""
    return KeyPair(lambda: ec.generate_private_key(curve()), algorithm)


RSA: Final = new_rsa()
EC: Final = new_ec()
ED: Final = KeyPair(ed25519.Ed25519PrivateKey.generate, "EdDSA")
#: Its public key is in the settings.
PEM: Final = new_ec()


def token(
    subject: str | None,
    key: Any = SECRET,
    algorithm: str = "HS256",
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """A token that is good for five minutes, but for `claims`; None leaves one out."""
    if isinstance(key, KeyPair):
        header = {"kid": key.id} if header is None else header
        key, algorithm = key.private, key.algorithm
    now = int(time.time())
    plain = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300}
    document = {name: value for name, value in (plain | claims).items() if value is not None}
    return jwt.encode(document, key, algorithm, header)


@dataclass
class KeyServer:
    """A host product's JWKS over HTTP, in a thread."""

    keys: Sequence[dict[str, Any]] = ()
    #: sent instead of the keys: status, headers, body
    instead: tuple[int, dict[str, str], bytes] | None = None
    #: requests so far
    asked: int = 0
    url: str = ""


@contextmanager
def serving_keys(*keys: KeyPair) -> Iterator[KeyServer]:
    """A key server with these."""
    state = KeyServer([one.jwk for one in keys])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            body = json.dumps({"keys": list(state.keys)}).encode()
            status, headers, body = state.instead or (200, {}, body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        server.shutdown()


def sign_in_settings(key_server: KeyServer) -> dict[str, str]:
    """The environment of a deployment that accepts all kinds of tokens."""
    return {
        "OUTLIVE_AUTH": "required",
        "OUTLIVE_JWT_SECRET": SECRET,
        "OUTLIVE_JWT_ISSUER": ISSUER,
        "OUTLIVE_JWT_AUDIENCE": AUDIENCE,
        "OUTLIVE_JWT_PUBLIC_KEY": PEM.pem,
        "OUTLIVE_JWT_JWKS_URL": key_server.url,
    }


def bearer(credential: str) -> dict[str, str]:
    """The header with a token or a key."""
    return {"Authorization": f"Bearer {credential}"}


def client_with(web: Web, credential: str, **headers: str) -> Client:
    """A client that sends a credential with each request."""
    client = Client(web.url)
    sent = bearer(credential) | headers
    client.http.headers.update({name.encode(): value.encode() for name, value in sent.items()})
    return client


def operate(rig: Rig, *words: str, **more: str) -> Result:
    """Run a command of the operator's, on the rig's servers."""
    env = {"DATABASE_URL": rig.database_url, "REDIS_URL": rig.redis.url, **more}
    return CliRunner().invoke(outlive, words, env=env)


def new_key(rig: Rig, scopes: str, *words: str, **env: str) -> tuple[str, str]:
    """A new service key and its id."""
    name = f"test {new_id()}"
    done = operate(rig, "key", "add", name, "--scope", scopes, "--json", *words, **env)
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    return made["key"], made["id"]


def user_id(rig: Rig, subject: str) -> Any:
    """The id of the host's user; None before their first request."""
    known = "SELECT id FROM users WHERE issuer = :issuer AND subject = :subject"
    rows = rig.rows(known, issuer=ISSUER, subject=subject)
    assert len(rows) < 2
    return rows[0].id if rows else None


def disable(rig: Rig, subject: str) -> None:
    """Disable the host's user, in the table only: nobody is notified."""
    rig.rows(
        "UPDATE users SET disabled_at = now() WHERE issuer = :issuer AND subject = :subject"
        " RETURNING id",
        issuer=ISSUER,
        subject=subject,
    )
