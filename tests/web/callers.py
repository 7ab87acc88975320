"""Everybody who may ask, for `test_rights_of_routes.py`: each kind of credential, good and bad."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from local.programs import Web
from shared.store import users
from tests.client import new_id
from tests.credentials import ISSUER, bearer, disable, new_key, operate, token, user_id
from tests.rig import Rig
from tests.signing_in import Session, begin_session

OWNER: Final = "owner-of-things"
OTHER: Final = "another"
READER: Final = "reader-of-things"

SHARED: Final = frozenset({"shared"})
READS: Final = SHARED | {"use", "read"}
WRITES: Final = READS | {"write"}
OPERATES: Final = frozenset({"use", "operate"})


@dataclass(frozen=True)
class Caller:
    """Somebody with a credential; a link's is one of the things."""

    headers: Mapping[str, str] = field(default_factory=dict)
    rights: frozenset[str] = WRITES
    #: whether the things in the addresses are theirs
    owns: bool = False
    #: whether they are shared with them
    reads: bool = False
    #: the answer to everything that is not public
    refusal: tuple[int, str] | None = None
    #: whether it lacks the token without which a session changes nothing
    lacks_csrf: bool = False
    #: what of another site's leads here, as a browser says
    elsewhere: Literal["page", "link"] | None = None
    #: whether a browser asks, which is sent to the sign-in page
    browses: bool = False


HTML: Final = {"Accept": "text/html"}
FOLLOWED: Final = {
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


def nobody(_: Rig, __: Web) -> Caller:
    return Caller(refusal=(401, "unauthenticated"))


def nobodys_browser(_: Rig, __: Web) -> Caller:
    return Caller(HTML, refusal=(401, "unauthenticated"), browses=True)


def expired(_: Rig, __: Web) -> Caller:
    past = token(OWNER, exp=int(time.time()) - 60)
    return Caller(bearer(past), refusal=(401, "token_expired"))


def with_bad_token(**changes: Any) -> Callable[[Rig, Web], Caller]:
    return lambda _, __: Caller(bearer(lasting(OWNER, **changes)), refusal=(401, "token_invalid"))


def lasting(subject: str, **changes: Any) -> str:
    """A token that is good for longer than all of this takes."""
    return token(subject, **{"exp": int(time.time()) + 3600, **changes})


def disabled_user(rig: Rig, _: Web) -> Caller:
    subject = new_id()
    there = of_token(rig, subject)
    disable(rig, subject)
    return replace(there, refusal=(401, "user_disabled"))


def revoked(rig: Rig, _: Web) -> Caller:
    key, key_id = new_key(rig, "read,ask,admin,act_as")
    operate(rig, "key", "revoke", key_id)
    return Caller(bearer(key) | {"Outlive-User": OWNER}, refusal=(401, "key_invalid"))


def expired_key(rig: Rig, _: Web) -> Caller:
    key, key_id = new_key(rig, "read,ask,admin,act_as")
    expire(rig, "service_keys", key_id)
    return Caller(bearer(key) | {"Outlive-User": OWNER}, refusal=(401, "key_invalid"))


def expire(rig: Rig, table: str, row: str) -> None:
    """Let a row have expired a second ago."""
    past = "UPDATE {} SET expires_at = now() - interval '1 s' WHERE id = :id RETURNING id"
    assert rig.rows(past.format(table), id=row)


def of_key(rig: Rig, scopes: str, rights: frozenset[str]) -> Caller:
    """A key that acts for the owner."""
    key, _ = new_key(rig, f"{scopes},act_as")
    return Caller(bearer(key) | {"Outlive-User": OWNER}, rights, owns=True)


def of_its_own(rig: Rig, _: Web) -> Caller:
    """A key that acts for itself."""
    key, __ = new_key(rig, "ask")
    return Caller(bearer(key))


def not_for_others(rig: Rig, _: Web) -> Caller:
    """A key that names a user, and may not."""
    key, __ = new_key(rig, "read,ask,admin")
    return Caller(bearer(key) | {"Outlive-User": OWNER}, refusal=(403, "insufficient_scope"))


def of_token(rig: Rig, subject: str, **claims: Any) -> Caller:
    users.by_subject(rig.db, ISSUER, subject)
    return Caller(bearer(lasting(subject, **claims)), owns=subject == OWNER)


def operator(rig: Rig, _: Web) -> Caller:
    scope = "read ask admin"
    return Caller(of_token(rig, OTHER, scope=scope).headers, WRITES | OPERATES)


def of_session(rig: Rig, _: Web) -> Caller:
    return Caller(begin_session(rig.db, users.by_subject(rig.db, ISSUER, new_id()).id))


def of_operators_session(rig: Rig, _: Web) -> Caller:
    user = users.by_subject(rig.db, ISSUER, new_id()).id
    rig.rows("UPDATE users SET operator = true WHERE id = :id RETURNING id", id=user)
    return Caller(begin_session(rig.db, user), WRITES | OPERATES)


def signed_out(rig: Rig, web: Web) -> Caller:
    headers = of_session(rig, web).headers
    assert Session(web.url, {**headers}).sign_out().status_code == 204
    return Caller(headers, refusal=(401, "session_ended"))


def of_owners_session(rig: Rig, _: Web) -> Caller:
    return Caller(begin_session(rig.db, user_id(rig, OWNER)), owns=True)


def expired_session(rig: Rig, _: Web) -> Caller:
    headers = begin_session(rig.db, user_id(rig, OWNER), seconds=-1.0)
    return Caller(headers, refusal=(401, "session_ended"))


def without_csrf(rig: Rig, web: Web) -> Caller:
    session = of_owners_session(rig, web)
    return replace(session, headers={"Cookie": session.headers["Cookie"]}, lacks_csrf=True)


def with_anothers_csrf(rig: Rig, web: Web) -> Caller:
    headers = {"Outlive-CSRF": of_owners_session(rig, web).headers["Outlive-CSRF"]}
    session = without_csrf(rig, web)
    return replace(session, headers={**session.headers, **headers})


def another_sites_page(rig: Rig, web: Web) -> Caller:
    session = of_owners_session(rig, web)
    headers = {**session.headers, "Origin": "https://evil.example"}
    return replace(session, headers=headers, elsewhere="page")


def link_on_another_site(rig: Rig, web: Web) -> Caller:
    session = of_owners_session(rig, web)
    return replace(session, headers={**session.headers, **FOLLOWED}, elsewhere="link")


def reader_by_link(_: Rig, __: Web) -> Caller:
    return Caller(bearer("{link}"), SHARED, reads=True)


def revoked_link(_: Rig, __: Web) -> Caller:
    return Caller(bearer("{revoked_link}"), refusal=(404, "not_found"))


def expired_link(_: Rig, __: Web) -> Caller:
    return Caller(bearer("{expired_link}"), refusal=(404, "not_found"))


def named_reader(rig: Rig, _: Web) -> Caller:
    return replace(of_token(rig, READER), reads=True)


CALLERS: Final[dict[str, Callable[[Rig, Web], Caller]]] = {
    "nobody": nobody,
    "expired": expired,
    "wrong audience": with_bad_token(aud="another"),
    "wrong issuer": with_bad_token(iss="https://another.example"),
    "wrong signature": with_bad_token(key="x" * 64),
    "nobody's browser": nobodys_browser,
    "another site's page": another_sites_page,
    "link on another site": link_on_another_site,
    "disabled": disabled_user,
    "revoked": revoked,
    "expired key": expired_key,
    "key for nobody else": not_for_others,
    "link": reader_by_link,
    "revoked link": revoked_link,
    "expired link": expired_link,
    "named reader": named_reader,
    "another user": lambda rig, _: of_token(rig, OTHER),
    "key of its own": of_its_own,
    "operator": operator,
    "key: read": lambda rig, _: of_key(rig, "read", READS),
    "key: admin": lambda rig, _: of_key(rig, "admin", OPERATES),
    "key: act_as": lambda rig, _: of_key(rig, "act_as", frozenset()),
    "key: ask": lambda rig, _: of_key(rig, "ask", WRITES),
    "owner": lambda rig, _: of_token(rig, OWNER),
    "session": of_session,
    "owner's session": of_owners_session,
    "session without CSRF token": without_csrf,
    "session with another's CSRF token": with_anothers_csrf,
    "expired session": expired_session,
    "session of an operator": of_operators_session,
    "signed out": signed_out,
}
