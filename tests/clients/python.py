"""Stock clients of Python, as their documentation shows them: `python -m tests.clients.python`.

Reads a JSON list of {client, url} from standard input and follows every url until the stream has
ended, each in a thread of its own. Writes one line of JSON for each: what it read.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from typing import Any, Final

import httpx
import requests
import urllib3
from httpx_sse import connect_sse
from ld_eventsource import SSEClient as LaunchDarkly
from ld_eventsource.config import ErrorStrategy
from requests_sse import EventSource
from sseclient import SSEClient

#: Seconds of silence after which a connection counts as dead: four heartbeats.
SILENCE: Final = 60.0
#: Seconds before one comes back, for clients that leave that to their user.
PAUSE: Final = 0.1
#: What a cut is called: by httpx, by requests and by what is below it, by urllib, by a socket.
CUTS: Final = (httpx.TransportError, requests.RequestException, urllib3.exceptions.HTTPError,
               urllib.error.URLError, HTTPException, OSError)  # fmt: skip


class Reading:
    """What one reader knows: the text, the last id, and the ends that it got."""

    def __init__(self) -> None:
        self.text = ""
        self.last_id = ""
        self.ends: list[Any] = []
        #: frames that did not start where the reader stood
        self.elsewhere = 0

    def take(self, event: str | None, data: str | None, last_id: str | None) -> None:
        """An event."""
        if event == "delta":
            found = json.loads(data or "")
            self.elsewhere += found["start"] != len(self.text)
            self.text += found["text"]
        if event == "end":
            self.ends.append(json.loads(data or ""))
        self.last_id = last_id or self.last_id

    @property
    def headers(self) -> dict[str, str]:
        """What a request begins with."""
        seen = {"Last-Event-ID": self.last_id} if self.last_id else {}
        return {"Accept": "text/event-stream", **seen}

    def to_end(self, connect: Callable[[], None]) -> None:
        """Come back after each response that ended before the answer did, however it ended."""
        while not self.ends:
            with suppress(*CUTS):
                connect()
            if not self.ends:
                time.sleep(PAUSE)


def by_httpx_sse(url: str, reading: Reading) -> None:
    """httpx-sse: it reads one response; coming back is its user's."""
    with httpx.Client(timeout=SILENCE) as client:

        def connect() -> None:
            with connect_sse(client, "GET", url, headers=reading.headers) as source:
                for event in source.iter_sse():
                    reading.take(event.event, event.data, event.id)

        reading.to_end(connect)


def by_sseclient_py(url: str, reading: Reading) -> None:
    """sseclient-py, over requests: the same."""

    def connect() -> None:
        with requests.get(url, headers=reading.headers, stream=True, timeout=SILENCE) as response:
            for event in SSEClient(iter(response)).events():
                reading.take(event.event, event.data, event.id)

    reading.to_end(connect)


def by_requests(url: str, reading: Reading) -> None:
    """requests alone, and the few lines of `events`."""

    def connect() -> None:
        with requests.get(url, headers=reading.headers, stream=True, timeout=SILENCE) as response:
            for event in events(response.iter_lines()):
                reading.take(*event)

    reading.to_end(connect)


def by_urllib(url: str, reading: Reading) -> None:
    """The standard library alone, and the same lines."""

    def connect() -> None:
        request = urllib.request.Request(url, headers=reading.headers)
        with urllib.request.urlopen(request, timeout=SILENCE) as response:
            for event in events(response):
                reading.take(*event)

    reading.to_end(connect)


def events(lines: Iterable[bytes]) -> Iterator[tuple[str, str, str]]:
    """Event, data and id: what a reader of our frames needs of the standard.

    Lines of bytes, which split at LF, CR and CRLF only. An event without its blank line is none.
    """
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode("ascii").rstrip("\r\n").partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            yield fields.get("event", "message"), fields["data"], fields.get("id", "")
            fields = {}


def by_requests_sse(url: str, reading: Reading) -> None:
    """requests-sse: it comes back by itself."""
    with EventSource(url, timeout=SILENCE) as source:
        for event in source:
            reading.take(event.type, event.data, event.last_event_id)
            if reading.ends:
                break


def by_launchdarkly(url: str, reading: Reading) -> None:
    """launchdarkly-eventsource: it comes back by itself if it is configured so."""
    client = LaunchDarkly(url, error_strategy=ErrorStrategy.always_continue())
    for event in client.events:
        reading.take(event.event, event.data, event.last_event_id)
        if reading.ends:
            break
    client.close()


CLIENTS: Final[dict[str, Callable[[str, Reading], None]]] = {
    "httpx-sse": by_httpx_sse,
    "sseclient-py": by_sseclient_py,
    "requests": by_requests,
    "urllib": by_urllib,
    "requests-sse": by_requests_sse,
    "launchdarkly-eventsource": by_launchdarkly,
}


def _follow(job: dict[str, str]) -> dict[str, Any]:
    reading, failure = Reading(), None
    try:
        CLIENTS[job["client"]](job["url"], reading)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test reports it
        failure = f"{type(error).__name__}: {error}"
    found = {"text": reading.text, "ends": reading.ends, "elsewhere": reading.elsewhere}
    return {**job, **found, "failure": failure}


def main() -> None:
    """Follow all of them at once."""
    jobs = json.load(sys.stdin)
    with ThreadPoolExecutor(len(jobs)) as pool:
        for found in pool.map(_follow, jobs):
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
