"""Notifies people whose browser may be closed, through the push service of each browser.

Postgres says of which answers (`store/pushes.py`), and a row is taken away before anything is sent.
So an answer is notified of at most once in each browser, whatever dies. It may be lost with its
worker, or where a push service does not answer: the answer itself is in the list in any case.

The endpoint is an address that a user gave, and is treated as an adversary's. It has to be one of
the services that are allowed (checked again here, as the list may have changed). Its name is
resolved here, and every address that it has must be public; the connection goes to that very
address, so no second answer of a name server counts. Redirects are not followed, nothing of the
response is read but its status, and a request has TIMEOUT seconds.

Where a proxy is configured, it resolves the name, and is what limits where requests go.

Nothing of an answer is in a log. It is encrypted for the browser; the service sees its size.
"""

import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Final

import gevent
import httpx2
import structlog
from gevent.pool import Pool

from shared import push_services, tls
from shared.errors import StorageDown
from shared.lifecycle import Status
from shared.push_services import Place
from shared.settings import Settings
from shared.store import pushes
from shared.store.database import Database
from shared.store.pushes import Push, Subscription
from shared.text import normalise
from shared.vapid import Vapid
from worker import metrics, push_encryption
from worker.provider.transport import is_direct

#: Seconds between two polls of Postgres for what is due, and for one request.
EVERY: Final = 2.0
TIMEOUT: Final = 10.0
#: Requests at a time, and answers that are taken at once.
TOGETHER: Final = 8
BATCH: Final = 20
#: Seconds before the one other try, where a service says that it is overloaded.
PAUSE: Final = 3.0
#: Seconds for which a service keeps a message for a browser that is not there.
TTL: Final = 86_400
#: Characters of a title that are sent.
TITLE_CHARS: Final = 100
#: Statuses by which a service says that there is no such subscription, or that it is overloaded.
GONE: Final = (404, 410)
OVERLOADED: Final = (429, 500, 502, 503, 504)

log = structlog.get_logger("push")


class NotAllowed(Exception):
    """The address is none that requests may be sent to. The message says why, without it."""


class Pushes:
    """Sends what is due, from one worker."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._db = db
        self._key = settings.push_key
        self._contact = settings.contact
        self._services = settings.push_places
        self._pool = Pool(TOGETHER)

    @cached_property
    def _vapid(self) -> Vapid:
        return Vapid(self._key, self._contact)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return tls.client_context()

    def run(self) -> None:
        """Send what is due, for ever; without a key only forget what nobody sends."""
        while True:
            gevent.sleep(EVERY)
            with suppress(StorageDown):  # it is still there
                if self._key:
                    self.send_due()
                else:
                    pushes.forget(self._db)

    def send_due(self) -> None:
        """Send what is due now; returns once it is under way. Raises StorageDown."""
        found = pushes.take(self._db, BATCH)
        while found:
            for push in found:
                for subscription in push.subscriptions:
                    self._pool.spawn(self._send, push, subscription)  # waits for a place
            found = pushes.take(self._db, BATCH)

    def _send(self, push: Push, subscription: Subscription) -> None:
        try:
            result = self._try(push, subscription)
        except Exception as error:  # noqa: BLE001 - its text may quote the address
            log.warning("push.bug", message_id=str(push.message_id), error=type(error).__name__)
            result = "failed"
        metrics.PUSHES.labels(result).inc()

    def _try(self, push: Push, subscription: Subscription) -> str:
        """Send one; what became of it, in a word."""
        try:
            status = self._post(push, subscription)
            if status in OVERLOADED:  # it was not taken
                gevent.sleep(PAUSE)
                status = self._post(push, subscription)
        except NotAllowed as error:
            log.warning("push.not_allowed", message_id=str(push.message_id), why=str(error))
            return "not_allowed"
        except (httpx2.HTTPError, OSError) as error:
            log.info("push.failed", message_id=str(push.message_id), error=type(error).__name__)
            return "failed"
        if status in GONE:
            with suppress(StorageDown):
                pushes.expired(self._db, subscription)
            return "expired"
        if status >= 300:
            log.warning("push.refused", message_id=str(push.message_id), status=status)
            return "refused"
        return "sent"

    def _post(self, push: Push, subscription: Subscription) -> int:
        """The status of the service's response. Raises NotAllowed, HTTPError and OSError."""
        place = push_services.place_of(subscription.endpoint, self._services)
        if place is None:
            raise NotAllowed("no longer in OUTLIVE_PUSH_SERVICES")
        body = push_encryption.encrypt(
            payload(push, with_text=subscription.with_text), subscription.p256dh, subscription.auth
        )
        headers = {
            "Authorization": self._vapid.authorization(place.origin),
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(TTL),
            "Urgency": "high",
            # What waits at the service under this name is replaced, not shown a second time.
            "Topic": push.message_id.hex,
        }
        with gevent.Timeout(TIMEOUT, httpx2.ReadTimeout("")):
            return self._request(subscription.endpoint, place, headers, body)

    def _request(self, endpoint: str, place: Place, headers: Mapping[str, str], body: bytes) -> int:
        url, extensions = httpx2.URL(endpoint), dict[str, str]()
        if is_direct():
            headers = {**headers, "Host": url.netloc.decode()}
            url = url.copy_with(host=_address(place))
            extensions = {"sni_hostname": place.host}
        with (
            httpx2.Client(timeout=TIMEOUT, follow_redirects=False, verify=self._tls) as client,
            client.stream(
                "POST", url, headers=headers, content=body, extensions=extensions
            ) as response,
        ):
            return response.status_code


def _address(place: Place) -> str:
    """An IP address of the place. Raises NotAllowed, and OSError if it has none."""
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not place.named and not all(map(push_services.is_public, addresses)):
        raise NotAllowed("its name leads to an address that is not public")
    return addresses[0]


def payload(push: Push, *, with_text: bool) -> bytes:
    """What the page's service worker shows; of the answer nothing, unless the person wants it."""
    said: dict[str, str] = {
        "conversation": str(push.conversation_id),
        "message": str(push.message_id),
        "result": "failed" if push.status == Status.ERROR else "ready",
    }
    if with_text:
        said["title"] = " ".join((push.title or "").split())[:TITLE_CHARS]
        said["text"] = " ".join(normalise(push.text).split())
    return json.dumps(said, ensure_ascii=False).encode()
