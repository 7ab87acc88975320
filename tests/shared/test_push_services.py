"""Where notifications may be sent: an endpoint is an address that an adversary may give."""

import pytest

from shared.push_services import ENDPOINT_CHARS, SERVICES, is_public, is_service, place_of

KNOWN = frozenset(SERVICES.split(","))


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/abc:def",
        "https://updates.push.services.mozilla.com/wpush/v2/gAAAA",
        "https://web.push.apple.com/QGx",
        "https://wns2-par02p.notify.windows.com/w/?token=BQYAA%2b",
        "https://fcm.googleapis.com:443/x",
    ],
)
def test_the_services_of_browsers_are_known(endpoint: str) -> None:
    place = place_of(endpoint, KNOWN)

    assert place is not None
    assert (place.scheme, place.port, place.named) == ("https", 443, False)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://evilfcm.googleapis.com/x",
        "https://fcm.googleapis.com.evil.example/x",
        "https://notify.windows.com/x",
        "https://x@fcm.googleapis.com/x",
        "https://fcm.googleapis.com@evil.example/x",
        "https://evil.example\\@fcm.googleapis.com/x",
        "https://evil.example#@fcm.googleapis.com/x",
        "https://169.254.169.254/latest",
        "https://[::1]/x",
        "https://[::1/x",
        "https://fcm.googleapis.com:x/",
        "https:fcm.googleapis.com/x",
        "https://fcm.googleapis.com/ü",
        "https://fcm.googleapis.com/a b",
        "https://fcm.googleapis.com/" + "a" * ENDPOINT_CHARS,
        "ftp://fcm.googleapis.com/x",
        "",
    ],
)
def test_everything_else_is_refused(endpoint: str) -> None:
    assert place_of(endpoint, KNOWN) is None


def test_an_operator_may_name_an_origin_whatever_its_address() -> None:
    place = place_of("http://127.0.0.1:9/x", {"http://127.0.0.1:9"})

    assert place is not None
    assert (place.named, place.origin) == (True, "http://127.0.0.1:9")
    assert place_of("http://127.0.0.1:9@evil.example/x", {"http://127.0.0.1:9"}) is None


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("push.example.org", True),
        ("*.example.org", True),
        ("https://push.internal:8443", True),
        ("http://localhost:9", True),
        ("http://push.example.org", False),
        ("*", False),
        ("*.org:8", False),
        ("localhost", False),
        ("https://x/y", False),
    ],
)
def test_what_may_be_listed(text: str, fits: bool) -> None:
    assert is_service(text) is fits


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1",
     "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "224.0.0.1", "ff02::1"],
)  # fmt: skip
def test_addresses_of_private_networks_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_addresses_of_the_internet_are_public() -> None:
    assert is_public("142.250.74.10")
    assert is_public("2a00:1450:4001:82b::200a")
