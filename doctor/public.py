"""The public address: TLS, HTTP/2, and whether a stream arrives while it is written."""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from doctor.environment import is_loopback
from doctor.findings import Finding, Patient
from shared import tls
from shared.bus.inspection import Inspection
from shared.errors import RedisDown
from shared.settings import Settings

#: Seconds for one request; for which the first frame may take, and the last has to come later.
TIMEOUT: Final = 10.0
FIRST_SECONDS: Final = 1.0
SPREAD_SECONDS: Final = 1.0
#: Days for which a certificate has to be valid.
DAYS: Final = 14

#: What the doctor claims to be its address (RFC 5737): no proxy may pass that on as true.
_CLAIMED: Final = "198.51.100.7"

_BUFFERS: Final = (
    "Switch buffering off for event streams: docs/deploy.md has the lines for nginx. A proxy must"
    " honour X-Accel-Buffering, or have buffering off."
)


def check(patient: Patient) -> Iterator[Finding]:
    """The address, if one was given."""
    if patient.address is None:
        return
    address = patient.address.rstrip("/")
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "https":
        problems = list(_certificate(host, parts.port or 443))
        yield from problems
        if any(problem.check == "tls" for problem in problems):
            return  # no request would succeed
    elif not is_loopback(host):
        yield Finding(
            "tls",
            "The address begins with http://: everybody on the way reads what is asked and shown.",
            "Serve it over TLS (docs/deploy.md), and redirect http:// to it.",
        )
    try:
        with httpx2.Client(timeout=TIMEOUT, verify=tls.client_context()) as client:
            yield from _requests(client, address, patient)
    except httpx2.HTTPError as error:
        yield Finding(
            "address",
            f"{address} cannot be reached: {type(error).__name__}.",
            "Check DNS, the proxy and the firewall.",
        )


def _certificate(host: str, port: int) -> Iterator[Finding]:
    context = tls.client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            socket.create_connection((host, port), TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=host) as line,
        ):
            certificate: Any = line.getpeercert()
            protocol = line.selected_alpn_protocol()
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or "no TLS"
        yield Finding(
            "tls",
            f"TLS with {host}:{port} fails: {reason}.",
            "Give the proxy a certificate for this name, with all of its chain.",
        )
        return
    except OSError:
        return  # the requests say so
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / 86_400
    if days < DAYS:
        yield Finding(
            "certificate",
            f"The certificate of {host} is valid for {days:.0f} days more.",
            "Renew it, and check that its renewal runs by itself.",
        )
    if protocol != "h2":
        yield Finding(
            "http2",
            f"{host} does not offer HTTP/2: a browser then opens six connections, and each stream"
            " is one.",
            "Switch HTTP/2 on in the proxy (nginx: `http2 on`).",
        )


def _requests(client: httpx2.Client, address: str, patient: Patient) -> Iterator[Finding]:
    ready = client.get(f"{address}/readyz")
    if ready.status_code != 200:
        yield Finding(
            "address",
            f"{address}/readyz answers with status {ready.status_code}.",
            "503: Postgres or Redis is away. Else the proxy does not lead to web.",
        )
        return
    home = client.get(f"{address}/")
    if home.status_code == 403:
        yield Finding(
            "hosts",
            f"Web does not answer to the name in {address}.",
            "Add it to OUTLIVE_HOSTS, and have the proxy pass it on (`proxy_set_header Host`).",
        )
    settings = patient.web.settings
    inspection = Inspection(settings.redis_url, settings.prefix)
    try:
        yield from _stream(client, address, inspection.new_probe(), settings)
    except RedisDown:
        return  # a finding of its own
    finally:
        inspection.close()


def _stream(
    client: httpx2.Client, address: str, token: str, settings: Settings
) -> Iterator[Finding]:
    """Time the frames of a stream that web sends us through the address."""
    begun = time.monotonic()
    headers = {
        "Outlive-Probe": token,
        "Accept": "text/event-stream",
        "Accept-Encoding": "gzip",
        "X-Forwarded-For": _CLAIMED,
    }
    with client.stream("GET", f"{address}/healthz/stream", headers=headers) as response:
        if response.status_code != 200:
            yield Finding(
                "stream",
                f"{address} does not lead to a web process of this deployment: it does not know"
                " what was left for it in Redis.",
                "Point the proxy at this deployment's web, and compare REDIS_URL and"
                " OUTLIVE_PREFIX.",
            )
            return
        if settings.proxies:
            yield from _forwarded(response, address, settings)
        moments = [time.monotonic() for _ in response.iter_raw()]
        encoding = response.headers.get("content-encoding")
    first, last = moments[0] - begun, moments[-1] - moments[0]
    if first > FIRST_SECONDS or last < SPREAD_SECONDS:
        yield Finding(
            "buffering",
            f"A proxy holds streams back: the first byte came after {first:.1f} s, the last"
            f" {last:.1f} s later, though they were sent at once and 1.5 s later.",
            _BUFFERS,
        )
    if encoding:
        yield Finding(
            "compression",
            f"A proxy compresses streams ({encoding}), which delays text.",
            "Leave text/event-stream out of what the proxy compresses.",
        )


def _forwarded(response: httpx2.Response, address: str, settings: Settings) -> Iterator[Finding]:
    """What web took from the proxies' headers; it has said so in its own."""
    seen = urlsplit(response.headers.get("Outlive-Probe-Address", ""))
    sent = urlsplit(address)
    trusted = settings.trusted_proxies
    if seen.scheme != sent.scheme:
        yield Finding(
            "proxies",
            f"Web takes requests to {address} for {seen.scheme}: it does not believe the proxy that"
            f" sends them (OUTLIVE_TRUSTED_PROXIES is {trusted}), or the proxy does not say so.",
            "Name the proxy by its address as web sees it, and have it set the three X-Forwarded-…"
            " headers (docs/deploy.md).",
        )
    elif seen.netloc.lower() != sent.netloc.lower():
        yield Finding(
            "proxies",
            f"Web takes requests to {sent.netloc} for ones to {seen.netloc}, and refuses what the"
            " page sends as another site's.",
            "Have the proxy pass on the name with its port (`proxy_set_header Host $http_host`).",
        )
    stream = response.extensions["network_stream"]
    ours = ipaddress.ip_address(stream.get_extra_info("client_addr")[0])
    is_trusted = any(ours in network for network in settings.proxies)  # which may claim anything
    if response.headers.get("Outlive-Probe-Client") == _CLAIMED and not is_trusted:
        yield Finding(
            "proxies",
            "The proxy passes on what a client claims to be its address, which evades rate limits.",
            "Have it replace the header (`proxy_set_header X-Forwarded-For $remote_addr`).",
        )
