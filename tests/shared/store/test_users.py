"""Users are found by what an operator knows of them."""

import pytest

from shared.errors import NotFound
from shared.store import users
from tests.client import new_id
from tests.store_fixtures import Store


def test_a_user_is_found_by_login_id_or_subject(store: Store) -> None:
    subject, login = new_id(), f"ann-{new_id()}"
    user = users.by_subject(store.db, "host", subject).id
    store.run("UPDATE users SET login = :login WHERE id = :id", login=login, id=user)

    for who in (subject, login, login.upper(), str(user), str(user).upper()):
        assert users.find(store.db, who) == user
    users.by_subject(store.db, "another host", subject)
    users.by_subject(store.db, "host", str(user))  # another, who cannot hide the first
    assert users.find(store.db, str(user)) == user
    for who, why in ((subject, "Several users"), (new_id(), "no such user"), ("", "no such user")):
        with pytest.raises(NotFound, match=why):
            users.find(store.db, who)
