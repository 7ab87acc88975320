"""The cookies of a session, without a service."""

import pytest
from flask import Flask, Request, Response

from shared.secret_token import SESSION
from web.auth import session_cookies
from web.auth.session_cookies import SessionCookies


def cookies_in(response: Response) -> dict[str, str]:
    """What is set, by its name."""
    return {one.partition("=")[0]: one for one in response.headers.getlist("Set-Cookie")}


def request_with(**environ: str) -> Request:
    """A request with these headers."""
    return Flask("x").test_request_context("/", environ_overrides=environ).request


@pytest.mark.parametrize(("secure", "prefix"), [(True, "__Host-"), (False, "")])
def test_over_https_no_network_and_no_neighbour_can_read_or_plant_them(
    secure: bool, prefix: str
) -> None:
    response = Response()
    cookies = SessionCookies(secure=secure, seconds=100)
    cookies.set(response, SESSION.new())
    cookies.set_attempt(response, SESSION.new(), "/", 10)

    found = cookies_in(response)

    assert set(found) == {
        prefix + name for name in ("outlive_session", "outlive_csrf", "outlive_oidc")
    }
    for cookie in found.values():
        assert ("; Secure" in cookie) == secure
        assert "; Path=/" in cookie
        assert "; SameSite=Lax" in cookie
        assert "Domain" not in cookie
    assert "; HttpOnly" in found[f"{prefix}outlive_session"]
    assert "; HttpOnly" in found[f"{prefix}outlive_oidc"]
    assert "; HttpOnly" not in found[f"{prefix}outlive_csrf"]


def test_where_the_page_may_be_framed_cookies_are_of_the_site_around_it() -> None:
    response = Response()
    SessionCookies(secure=True, seconds=100, framed=True).set(response, SESSION.new())

    for cookie in cookies_in(response).values():
        assert {"Secure", "SameSite=None", "Partitioned"} <= set(cookie.split("; "))


def test_over_https_a_cookie_without_the_prefix_is_none() -> None:
    request = request_with(HTTP_COOKIE=f"outlive_session={SESSION.new()}")

    assert SessionCookies(secure=True, seconds=1).token(request) is None
    assert SessionCookies(secure=False, seconds=1).token(request) is not None


def test_a_csrf_token_is_that_of_one_session_and_does_not_reveal_it() -> None:
    one, other = SESSION.new(), SESSION.new()
    cookies = SessionCookies(secure=False, seconds=1)
    good = session_cookies.csrf_token(one)

    def has(token: str, sent: str) -> bool:
        cookie = f"outlive_session={token}"
        return cookies.has_csrf(request_with(HTTP_COOKIE=cookie, HTTP_OUTLIVE_CSRF=sent))

    assert has(one, good)
    assert not has(other, good)
    assert not has(one, "")
    assert not has(one, good.upper())
    assert one not in good
    assert not cookies.has_csrf(request_with(HTTP_OUTLIVE_CSRF=good))


@pytest.mark.parametrize("value", ["", "x", ".", f"{'A' * 43}.____", "ä.ä"])
def test_what_is_no_attempt_is_none(value: str) -> None:
    request = request_with(HTTP_COOKIE=f"outlive_oidc={value}")

    assert SessionCookies(secure=False, seconds=1).attempt(request) == ("", "")


def test_an_attempt_comes_back_as_it_was() -> None:
    response, secret = Response(), SESSION.new()
    cookies = SessionCookies(secure=False, seconds=1)
    cookies.set_attempt(response, secret, "/c/1?leaf=2", 10)
    [cookie] = cookies_in(response).values()

    sent = request_with(HTTP_COOKIE=cookie.partition(";")[0])

    assert cookies.attempt(sent) == (secret, "/c/1?leaf=2")
