"""Somebody with an account of a deployment, and a browser on another machine."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx2

from scripted import done, finish, say, script
from tests.deployment import Deployment
from tests.nginx import DeployedNginx

PASSWORD: Final = "correct horse battery staple"
#: Of the browser.
ADDRESS: Final = "127.0.0.55"


@dataclass
class Person:
    """See the module."""

    http: httpx2.Client
    tls: ssl.SSLContext
    #: a conversation that is shared, and the secret of the link
    conversation: str = field(init=False)
    link: str = field(init=False)

    def sign_in(self) -> httpx2.Response:
        """Sign in, as the page does."""
        signed_in = self.http.post("/api/sign-in", json={"login": "ann", "password": PASSWORD})
        if signed_in.status_code == 204:
            self.http.headers["Outlive-CSRF"] = self.http.cookies["__Host-outlive_csrf"]
        return signed_in

    @property
    def place(self) -> str:
        """The path of the conversation."""
        return f"/api/conversations/{self.conversation}"

    def ask_and_share(self) -> None:
        """Ask something in a new conversation, and share it by a link."""
        made = self.http.post("/api/conversations", json={"title": "Sailing"})
        self.conversation = made.json()["id"]
        question = {"content": script(say("all is well"), finish(), done())}
        assert self.http.post(f"{self.place}/messages", json=question).status_code == 202
        self.link = self.http.post(f"{self.place}/shares", json={}).json()["token"]

    def by_link(self) -> int:
        """The status that a reader of the link gets, who has no account."""
        bearer = {"Authorization": f"Bearer {self.link}"}
        where = self.http.base_url.join(self.place)
        return httpx2.get(where, headers=bearer, verify=self.tls).status_code


@contextmanager
def new_person(
    deployment: Deployment, proxy: DeployedNginx, tls: ssl.SSLContext
) -> Iterator[Person]:
    """Make the account. Nobody has signed in yet."""
    assert deployment.outlive("user", "add", "ann", typed=f"{PASSWORD}\n") == "Added ann.\n"
    transport = httpx2.HTTPTransport(verify=tls, local_address=ADDRESS)
    headers = {"Origin": proxy.tls_url, "Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(base_url=proxy.tls_url, transport=transport, headers=headers) as http:
        yield Person(http, tls)
