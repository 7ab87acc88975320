"""Forwarded headers count as trusted proxies wrote them, and not at all from anybody else."""

import ipaddress
from typing import Any

import pytest

from local.programs import Web
from shared.settings import Settings
from tests.client import Client, new_id
from tests.credentials import bearer, new_key
from tests.rig import Rig, eventually, killing
from web.proxies import MOST, believe

TRUSTED = frozenset(map(ipaddress.ip_network, ("127.0.0.1", "10.0.0.0/8", "fd00::/8")))


def environ(peer: str, **headers: str) -> dict[str, Any]:
    sent = {f"HTTP_X_FORWARDED_{name}": value for name, value in headers.items()}
    return {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", "HTTP_HOST": "inner:8000", **sent}


@pytest.mark.parametrize(
    ("peer", "sent", "client"),
    [
        ("127.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "1.1.1.1, 192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "1.1.1.1, 192.0.2.1, 10.0.0.1", "192.0.2.1"),
        ("127.0.0.1", "1.1.1.1,192.0.2.1,10.0.0.1,10.0.0.2", "192.0.2.1"),
        ("127.0.0.1", "10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("127.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("127.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("127.0.0.1", "2001:DB8:0::1", "2001:db8::1"),
        ("127.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:127.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("fd00::7", "192.0.2.1", "192.0.2.1"),
        # what is no address names nobody: the proxy that sent it stays
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.1, unknown, 10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "fe80::1%eth0", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.1, ", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        # nobody else is believed
        ("192.0.2.9", "192.0.2.1", "192.0.2.9"),
        ("11.0.0.1", "127.0.0.1", "11.0.0.1"),
        ("", "192.0.2.1", ""),
    ],
)
def test_the_client_is_the_last_address_that_is_not_trusted(
    peer: str, sent: str, client: str
) -> None:
    request = environ(peer, FOR=sent)

    believe(request, TRUSTED)

    assert request["REMOTE_ADDR"] == client


def test_a_request_of_very_many_hops_is_not_followed_to_its_begin() -> None:
    request = environ("127.0.0.1", FOR=", ".join(["192.0.2.1", *["10.0.0.1"] * MOST]))
    believe(request, TRUSTED)
    assert request["REMOTE_ADDR"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("hops", "scheme", "host", "found"),
    [
        ("192.0.2.1", "https", "chat.example", ("https", "chat.example")),
        # the client wrote the first ones
        ("1.1.1.1, 192.0.2.1", "http, https", "evil.example, a.example", ("https", "a.example")),
        # the proxy before the last one speaks TLS, and both append
        ("192.0.2.1, 10.0.0.1", "https, http", "chat.example, inner", ("https", "chat.example")),
        # ... or only the last one writes
        ("192.0.2.1, 10.0.0.1", "https", "chat.example", ("https", "chat.example")),
        ("192.0.2.1", "gopher", "not a host", ("http", "inner:8000")),
        ("192.0.2.1", "", "", ("http", "inner:8000")),
        ("", "https", "chat.example", ("https", "chat.example")),
    ],
)  # fmt: skip
def test_scheme_and_host_are_those_of_the_last_trusted_proxy(
    hops: str, scheme: str, host: str, found: tuple[str, str]
) -> None:
    request = environ("127.0.0.1", FOR=hops, PROTO=scheme, HOST=host)
    believe(request, TRUSTED)
    assert (request["wsgi.url_scheme"], request["HTTP_HOST"]) == found


def test_an_untrusted_peer_changes_nothing() -> None:
    request = environ("192.0.2.9", FOR="127.0.0.1", PROTO="https", HOST="chat.example")
    before = dict(request)
    believe(request, TRUSTED)
    assert request == before


@pytest.mark.parametrize(
    ("auth", "proxies"),
    [
        ("required", "everybody"),
        ("required", "0.0.0.0/0"),
        ("required", "::/0"),
        ("required", "10.0.0.1/8"),
        ("local", "127.0.0.1"),
    ],
)
def test_a_list_of_proxies_that_makes_no_sense_is_refused(
    auth: str, proxies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLIVE_AUTH", auth)
    monkeypatch.setenv("OUTLIVE_TRUSTED_PROXIES", proxies)
    with pytest.raises(SystemExit, match="OUTLIVE_TRUSTED_PROXIES"):
        Settings.from_env()


def refused_after(client: Client, headers: dict[str, str], addresses: list[str]) -> list[int]:
    """The statuses of requests that say they come from these addresses."""
    return [
        client.http.get("/api/usage", headers={**headers, "X-Forwarded-For": one}).status_code
        for one in addresses
    ]


def _limited(rig: Rig, proxies: str) -> Web:
    return rig.web(
        OUTLIVE_AUTH="required",
        OUTLIVE_TRUSTED_PROXIES=proxies,
        OUTLIVE_ADDRESS_RATE="2/day",
        OUTLIVE_PREFIX=f"p{new_id()}"[:20],  # counts of its own
        OUTLIVE_HOSTS="localhost,127.0.0.1",
        WEB_CONCURRENCY="1",
    )


def test_limits_and_logs_use_the_address_that_a_trusted_proxy_names(rig: Rig) -> None:
    key, _ = new_key(rig, "read")
    web = _limited(rig, "127.0.0.1")
    with killing(web), Client(web.url) as client:
        one, other = "198.51.100.1", f"{new_id()}, 198.51.100.2"

        assert refused_after(client, bearer(key), [one] * 3) == [200, 200, 429]
        assert refused_after(client, bearer(key), [other, f"x, {other}"]) == [200, 200]

        answer = client.http.get("/", headers={"X-Forwarded-Host": "evil.example"})
        assert answer.json()["code"] == "not_local"
    log = (rig.home / "log" / "web.log").read_text
    eventually(lambda: '198.51.100.2 "GET /api/usage"' in log())


def test_a_client_that_is_no_trusted_proxy_cannot_choose_its_address(rig: Rig) -> None:
    key, _ = new_key(rig, "read")
    web = _limited(rig, "10.0.0.1")
    with killing(web), Client(web.url) as client:
        addresses = ["198.51.100.3", "198.51.100.4", "198.51.100.5"]

        assert refused_after(client, bearer(key), addresses) == [200, 200, 429]

        answer = client.http.get("/healthz", headers={"X-Forwarded-Host": "evil.example"})
        assert answer.status_code == 200
    assert "198.51.100.3" not in (rig.home / "log" / "web.log").read_text()
