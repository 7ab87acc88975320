"""Accounts and sessions, as an operator and a browser make them."""

import json
import random
import uuid
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from click.testing import CliRunner, Result

from cli.__main__ import outlive
from local.programs import Web
from shared import secret_token
from shared.store import sessions
from shared.store.database import Database
from shared.store.sessions import Lifetime
from tests.client import Client, new_id
from tests.rig import PATIENCE, Rig
from web.auth import session_cookies

PASSWORD: Final = "correct horse battery staple"
JSON: Final = {"Content-Type": "application/json"}


def user_command(rig: Rig, *words: str, typed: str = "", **more: str) -> Result:
    """Run `outlive user …` on the rig's servers; `typed` comes on standard input."""
    env = {"DATABASE_URL": rig.database_url, "REDIS_URL": rig.redis.url, **more}
    return CliRunner().invoke(outlive, ["user", *words], input=typed, env=env)


def new_account(rig: Rig, *words: str, password: str = PASSWORD, **env: str) -> str:
    """A new account's login."""
    login = f"ann-{new_id()}"
    done = user_command(rig, "add", login, *words, typed=f"{password}\n", **env)
    assert done.exit_code == 0, done.output
    return login


def account_id(rig: Rig, login: str) -> str:
    """The id of an account."""
    [row] = rig.rows("SELECT id FROM users WHERE login = :login", login=login)
    return str(row.id)


def new_address() -> str:
    """An address of this machine that nobody has tried to sign in from."""
    return f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"


def attempt(
    web: Web,
    login: Any,
    password: Any = PASSWORD,
    headers: dict[str, str] | None = None,
    address: str | None = None,
) -> httpx2.Response:
    """Try to sign in, from an address of this machine."""
    transport = httpx2.HTTPTransport(local_address=address or new_address())
    with httpx2.Client(base_url=web.url, transport=transport, timeout=PATIENCE) as http:
        body = json.dumps({"login": login, "password": password})
        return http.post("/api/sign-in", content=body, headers=JSON | (headers or {}))


@dataclass
class Session:
    """A session, as a browser keeps it."""

    url: str
    #: what the browser sends: the cookies, and from our page the CSRF token
    headers: dict[str, str]

    @property
    def cookie(self) -> dict[str, str]:
        """What it sends for another site's page."""
        return {"Cookie": self.headers["Cookie"]}

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """Ask for something."""
        return httpx2.get(self.url + path, headers=self.cookie | headers, timeout=PATIENCE)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """Send something as our page does."""
        sent = self.headers | headers
        return httpx2.post(self.url + path, json=body or {}, headers=sent, timeout=PATIENCE)

    def sign_out(self, **body: Any) -> httpx2.Response:
        """Sign out."""
        return self.post("/api/sign-out", body)

    def client(self) -> Client:
        """A client with this session."""
        client = Client(self.url)
        client.http.headers.update(self.headers)
        return client


def begin_session(db: Database, user: uuid.UUID, seconds: float = 86_400.0) -> dict[str, str]:
    """What a browser and our page send in a new session of any user: no password is asked for."""
    secret = secret_token.SESSION.new()
    lifetime, hashed = Lifetime(seconds, seconds), secret_token.hashed(secret)
    assert sessions.begin(db, user, token_hash=hashed, lifetime=lifetime, credential="oidc")
    csrf = session_cookies.csrf_token(secret)
    return {"Cookie": f"outlive_session={secret}", "Outlive-CSRF": csrf}


def session_of(web: Web, signed_in: httpx2.Response) -> Session:
    """The session that this answer began."""
    assert signed_in.status_code == 204, signed_in.text
    cookies = dict(signed_in.cookies)
    sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return Session(web.url, {"Cookie": sent, "Outlive-CSRF": cookies["outlive_csrf"]})


def new_session(rig: Rig, web: Web, *, operator: bool = False) -> Session:
    """A session of a new account."""
    login = new_account(rig, *(["--operator"] if operator else []))
    return session_of(web, attempt(web, login))
