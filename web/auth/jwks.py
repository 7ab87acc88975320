"""Public keys that are fetched from a URL (a JWKS), so that they may change without a restart.

- A key is known by its id (`kid`). An **unknown id** causes a fetch, but at most once in
  UNKNOWN_EVERY seconds: anyone may send tokens with random ids. Requests with unknown ids that come
  meanwhile wait for the same fetch.
- All keys are **fetched again** every REFRESH_EVERY seconds, besides the requests, so that a key
  that was withdrawn is forgotten.
- When the **URL does not answer**, or answers with something else, the keys of the last good answer
  stay. If there never was one, the answer is 503 and not 401: the token may be good.
- What is fetched is **bounded**: in seconds and bytes (`fetching`), in keys, without redirects.
"""

import json
import math
import time
from collections.abc import Sequence
from typing import Final

import gevent
import httpx2
import structlog
from gevent.lock import BoundedSemaphore
from jwt import PyJWKSet, PyJWTError

from shared import tls
from web.auth.fetching import fetch
from web.auth.signing_keys import PUBLIC, SigningKey, algorithm_of
from web.errors import KeysUnavailable

#: Seconds between two fetches because of unknown ids; for fresh keys; and while there are none.
UNKNOWN_EVERY: Final = 60.0
REFRESH_EVERY: Final = 300.0
RETRY_EVERY: Final = 5.0
#: Keys of a response.
MAX_KEYS: Final = 100

log = structlog.get_logger("auth")


class Jwks:
    """The keys at one URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._tls = tls.client_context()
        self._keys: Sequence[SigningKey] = ()
        self._fetching = BoundedSemaphore()
        #: when the last fetch ended, and when the last one for an unknown id began (monotonic)
        self._fetched_at = -math.inf
        self._unknown_at = -math.inf

    def find(self, algorithm: str, key_id: str | None) -> Sequence[SigningKey]:
        """The keys with this id and algorithm; without an id, all of the algorithm."""
        if algorithm not in PUBLIC:
            return ()
        now = time.monotonic()
        if not self._keys:
            if now - self._fetched_at > RETRY_EVERY:
                self._fetch(now)
            if not self._keys:
                raise KeysUnavailable
        found = self._matching(algorithm, key_id)
        if not found and (self._fetching.locked() or now - self._unknown_at > UNKNOWN_EVERY):
            self._unknown_at = now
            self._fetch(now)
            found = self._matching(algorithm, key_id)
        elif now - self._fetched_at > REFRESH_EVERY and not self._fetching.locked():
            gevent.spawn(self._fetch, now)
        return found

    def _matching(self, algorithm: str, key_id: str | None) -> Sequence[SigningKey]:
        return [
            one for one in self._keys if one.algorithm == algorithm and key_id in (None, one.id)
        ]

    def _fetch(self, asked_at: float) -> None:
        """Fetch, unless a fetch has ended since `asked_at`."""
        with self._fetching:
            if self._fetched_at > asked_at:
                return
            try:
                self._keys = _parsed(self._read())
            except (httpx2.HTTPError, PyJWTError, ValueError, RecursionError) as error:
                log.warning("jwks.not_fetched", error=type(error).__name__, kept=len(self._keys))
            self._fetched_at = time.monotonic()

    def _read(self) -> bytes:
        status, content = fetch(self._tls, "GET", self._url)
        if status != 200:
            raise ValueError
        return content


def _parsed(data: bytes) -> list[SigningKey]:
    """The keys of a JWKS that may be used. Raises ValueError and PyJWTError if there are none."""
    document = json.loads(data)
    if not (isinstance(document, dict) and isinstance(document.get("keys"), list)):
        raise ValueError
    keys = []
    for one in PyJWKSet(document["keys"][:MAX_KEYS]).keys:
        # A JWKS may hold keys of other kinds and for other uses; those are left out.
        algorithm = algorithm_of(one.key)
        usable = algorithm == one.algorithm_name and one.public_key_use in (None, "sig")
        if algorithm is not None and usable:
            keys.append(SigningKey(one.key, algorithm, one.key_id))
    if not keys:
        raise ValueError
    return keys
