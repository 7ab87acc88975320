"""Tokens of a host product: which are accepted, which are not, and whom they make."""

import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from flask import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from local.programs import Web
from shared.settings import Settings
from tests.client import Client, new_id
from tests.credentials import (
    AUDIENCE,
    EC,
    ED,
    PEM,
    RSA,
    SECRET,
    KeyPair,
    KeyServer,
    bearer,
    client_with,
    disable,
    new_ec,
    new_rsa,
    token,
    user_id,
)
from tests.rig import Rig
from web.auth.host_tokens import HostTokens
from web.auth.kinds import key_sources
from web.auth.revocations import Revocations
from web.errors import BadCredential


def answer(web: Web, credential: str) -> Any:
    """The answer to a request for one's conversations."""
    with Client(web.url) as client:
        return client.http.get("/api/conversations", headers=bearer(credential))


def test_every_kind_of_key_is_accepted(required_web: Web) -> None:
    for key in (RSA, EC, ED, PEM, SECRET):
        assert answer(required_web, token(new_id(), key)).status_code == 200

    assert answer(required_web, token(new_id(), aud=["another", AUDIENCE])).status_code == 200
    assert answer(required_web, token(new_id(), RSA, jti=new_id(), nbf=0)).status_code == 200


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token without a signature."""
    parts = (json.dumps(one).encode() for one in (header, claims))
    return ".".join([base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts]) + "."


def confused() -> str:
    """A token that is signed with the public key, as if that were a secret."""
    claims = jwt.decode(token("someone"), options={"verify_signature": False})
    implementation = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    head = {"alg": "HS256", "kid": EC.id}
    signed = unsigned(head, claims)[:-1].encode()
    signature = implementation.sign(signed, EC.pem.encode())
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def rsa_by(algorithm: str) -> str:
    return token("someone", RSA.private, algorithm, {"kid": RSA.id})


SOON = int(time.time()) + 3600
BAD: dict[str, Callable[[], str]] = {
    "no algorithm": lambda: unsigned({"alg": "none"}, {"sub": "someone", "exp": SOON}),
    "no header": lambda: unsigned({}, {"sub": "someone", "exp": SOON}),
    "a public key as the secret": confused,
    "another algorithm of the key": lambda: rsa_by("RS512"),
    "another padding of the key": lambda: rsa_by("PS256"),
    "a longer hash of the secret": lambda: token("someone", algorithm="HS512"),
    "another secret": lambda: token("someone", SECRET[::-1]),
    "a secret as the public key's": lambda: token("someone", header={"kid": RSA.id}, aud="x"),
    "an unknown key": lambda: token("someone", new_ec()),
    "the id of another key": lambda: token("someone", EC, header={"kid": ED.id}),
    "a key with a known id": lambda: token("someone", new_ec(), header={"kid": EC.id}),
    "no exp": lambda: token("someone", exp=None),
    "an exp that is no number": lambda: token("someone", exp="soon"),
    "not yet": lambda: token("someone", nbf=SOON),
    "made in the future": lambda: token("someone", iat=SOON),
    "no audience": lambda: token("someone", aud=None),
    "another audience": lambda: token("someone", aud="another"),
    "other audiences": lambda: token("someone", aud=["another", "outlive-not"]),
    "an audience in other letters": lambda: token("someone", aud=AUDIENCE.upper()),
    "no issuer": lambda: token("someone", iss=None),
    "another issuer": lambda: token("someone", iss="https://host.example/"),
    "no user": lambda: token(None),
    "an empty user": lambda: token(""),
    "a user of 256 characters": lambda: token("x" * 256),
    "a user with a line end": lambda: token("some\none"),
    "a user with a NUL": lambda: token("some\x00one"),
    "scopes that are a number": lambda: token("someone", scope=7),
    "scopes that are numbers": lambda: token("someone", scope=[7]),
    "a critical extension": lambda: token("someone", header={"crit": ["exp"], "exp": SOON}),
    "a detached body": lambda: token("someone", header={"b64": False, "crit": ["b64"]}),
    "too long": lambda: token("someone", padding="x" * 5_860),
    "a broken signature": lambda: token("someone")[:-2],
    "no signature": lambda: token("someone").rpartition(".")[0] + ".",
    "two parts": lambda: token("someone").rpartition(".")[0],
    "five parts": lambda: token("someone") + ".x.y",
    "no token": lambda: ".",
    "a deep header": lambda: unsigned({}, {}).replace(
        "e30", base64.urlsafe_b64encode(b"[" * 3_000).decode(), 1
    ),
    "another letter": lambda: token("someone").replace(".", ".!", 1),
}


@pytest.mark.parametrize("what", BAD)
def test_any_other_token_is_refused_without_a_hint(required_web: Web, what: str) -> None:
    refused = answer(required_web, BAD[what]())

    assert (refused.status_code, refused.json()["code"]) == (401, "token_invalid")
    assert refused.json() == answer(required_web, "x").json()
    challenge = refused.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="outlive", error="invalid_token"')


def test_only_a_token_that_was_good_is_called_expired(required_web: Web) -> None:
    past = int(time.time()) - 60

    assert answer(required_web, token("a", exp=past)).json()["code"] == "token_expired"
    assert answer(required_web, token("a", RSA, exp=past)).json()["code"] == "token_expired"
    for forged in (token("a", SECRET[::-1], exp=past), token("a", new_ec(), exp=past)):
        assert answer(required_web, forged).json()["code"] == "token_invalid"


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Basic dXNlcjpwYXNz", "bearer", "Token x", "Bearer\tx"],
    ids=repr,
)
def test_a_request_without_a_token_is_challenged(required_web: Web, header: str | None) -> None:
    with Client(required_web.url) as client:
        refused = client.http.get("/", headers={"Authorization": header} if header else {})

    assert refused.status_code == 401
    assert refused.json()["code"] in ("unauthenticated", "token_invalid")
    assert refused.headers["WWW-Authenticate"].startswith('Bearer realm="outlive"')


def test_a_user_is_made_at_the_first_request_and_only_once(required_web: Web, rig: Rig) -> None:
    subject = new_id()
    assert user_id(rig, subject) is None

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: answer(required_web, token(subject)), range(20)))

    assert [one.status_code for one in answers] == [200] * 20
    assert user_id(rig, subject)


def test_users_see_what_is_theirs_only(required_web: Web) -> None:
    with (
        client_with(required_web, token("Zoë|7")) as mine,
        client_with(required_web, token("Zoë|7", RSA)) as again,
        client_with(required_web, token("zoë|7")) as other,
    ):
        conversation = mine.conversation()

        assert again.http.get(f"/api/conversations/{conversation}").status_code == 200
        assert other.http.get(f"/api/conversations/{conversation}").status_code == 404
        assert other.http.get("/api/conversations").json()["items"] == []


@pytest.mark.parametrize(
    ("scope", "reads", "writes"),
    [
        (None, 200, 201),
        ("read ask", 200, 201),
        ("ask", 200, 201),
        ("read", 200, 403),
        (["read"], 200, 403),
        ("openid profile", 403, 403),
        ("", 403, 403),
        ("act_as", 403, 403),
        ("READ", 403, 403),
    ],
    ids=repr,
)
def test_scopes_limit_a_token(required_web: Web, scope: Any, reads: int, writes: int) -> None:
    with client_with(required_web, token("scoped", scope=scope)) as client:
        read = client.http.get("/api/conversations")
        written = client.http.post("/api/conversations", json={})

    assert (read.status_code, written.status_code) == (reads, writes)
    if writes == 403:
        assert written.json()["code"] == "insufficient_scope"
        assert 'error="insufficient_scope", scope="ask"' in written.headers["WWW-Authenticate"]


def test_a_token_cannot_name_another_user(required_web: Web) -> None:
    with client_with(required_web, token("honest"), **{"Outlive-User": "victim"}) as client:
        conversation = client.conversation()
    with client_with(required_web, token("victim")) as victim:
        assert victim.http.get(f"/api/conversations/{conversation}").status_code == 404


def test_a_disabled_user_is_refused(required_web: Web, rig: Rig) -> None:
    subject = new_id()
    rig.rows(
        "INSERT INTO users (id, name, issuer, subject, disabled_at)"
        " VALUES (:id, 'x', 'https://host.example', :subject, now()) RETURNING id",
        id=new_id(),
        subject=subject,
    )

    refused = answer(required_web, token(subject))

    assert (refused.status_code, refused.json()["code"]) == (401, "user_disabled")
    disable(rig, subject)


@pytest.mark.parametrize(
    "exp", [1e300, 10**400, 2**63, float(SOON) + 0.5], ids=["huge", "huger", "2**63", "half"]
)
def test_any_number_is_a_moment(required_web: Web, exp: Any) -> None:
    assert answer(required_web, token("long-lived", exp=exp)).status_code == 200


def test_many_requests_with_unknown_keys_cost_one_fetch_in_each_process(
    required_web: Web, key_server: KeyServer
) -> None:
    answer(required_web, token("a", EC))
    before = key_server.asked

    with ThreadPoolExecutor(20) as pool:
        forged = [token("a", KeyPair(EC.make, "ES256")) for _ in range(60)]
        answers = list(pool.map(lambda one: answer(required_web, one), forged))

    assert {one.status_code for one in answers} == {401}
    # Two processes; each may have to fetch for the first time, too.
    assert key_server.asked - before <= 4


# --- without servers ------------------------------------------------------------------------------

NOBODY: Any = None


def refuses(header: str) -> bool:
    """Whether this Authorization header is refused in order, before any user is looked for."""
    here = Settings.model_construct(jwt_secret=SECRET, jwt_public_key=PEM.pem)
    tokens = HostTokens(here, NOBODY, key_sources(here), Revocations())
    builder = EnvironBuilder(headers=[("Authorization", header)])
    request = Request(builder.get_environ())
    try:
        return tokens.authenticate(request) is None
    except BadCredential:
        return True


@settings(max_examples=50)
@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=40))
def test_any_three_parts_are_refused_in_order(head: bytes, body: bytes, signature: bytes) -> None:
    parts = [base64.urlsafe_b64encode(one).decode() for one in (head, body, signature)]

    assert refuses("Bearer " + ".".join(parts))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "zip", "cty"]),
    JSON | st.sampled_from(["HS256", "ES256", "none", "EdDSA"]),
)


@settings(max_examples=50)
@given(HEADERS, JSON)
def test_any_header_is_refused_in_order(header: dict[str, Any], claims: Any) -> None:
    assert refuses("Bearer " + unsigned(header, claims) + "c2lnbmF0dXJl")


@pytest.mark.parametrize("bits", [1024])
def test_a_short_key_is_refused_at_the_start(bits: int) -> None:
    here = Settings.model_construct(jwt_public_key=new_rsa(bits).pem)

    with pytest.raises(SystemExit, match="RSA of 2048 bits or more"):
        key_sources(here)
