"""HTTP requests to the services that vouch for people: bounded in seconds and bytes.

No redirect is followed: what is configured is what is asked.
"""

import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple

import gevent
import httpx2

#: Seconds for a whole request; bytes of a response.
TIMEOUT: Final = 5.0
MAX_BYTES: Final = 256 << 10


class Fetched(NamedTuple):
    """A whole response."""

    status: int
    content: bytes


def fetch(
    context: ssl.SSLContext,
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
) -> Fetched:
    """The response to one request. Raises httpx2.HTTPError, and ValueError if it is too long."""
    sent = {"Accept": "application/json", **(headers or {}), "Accept-Encoding": "identity"}
    with (
        gevent.Timeout(TIMEOUT, httpx2.ReadTimeout("")),
        httpx2.Client(timeout=TIMEOUT, follow_redirects=False, verify=context) as client,
        client.stream(method, url, headers=sent, content=body) as response,
    ):
        data = b""
        for chunk in response.iter_raw():
            data += chunk
            if len(data) > MAX_BYTES:
                raise ValueError
        return Fetched(response.status_code, data)
