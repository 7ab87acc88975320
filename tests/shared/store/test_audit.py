"""The audit table: what is noted of keys, how it is read, and for how long it is kept."""

from shared.store import audit, service_keys
from shared.store.audit import KEPT_DAYS, Action
from tests.client import new_id
from tests.store_fixtures import Store


def test_a_key_is_noted_when_added_first_used_on_a_day_and_revoked(store: Store) -> None:
    key = service_keys.add(store.db, name="x", token=("olk_x", new_id()), scopes=["ask"])
    service_keys.note_use(store.db, key)
    for before in ("0 hours", "1 hour"):  # today, yesterday
        used = "date_trunc('day', clock_timestamp(), 'UTC') - CAST(:before AS interval)"
        sql = f"UPDATE service_keys SET used_at = {used} WHERE id = :id"
        store.run(sql, id=key, before=before)
        service_keys.note_use(store.db, key)
    service_keys.revoke(store.db, key)
    service_keys.revoke(store.db, key)

    rows = store.db.rows(
        "SELECT action FROM audit WHERE object_id = :id OR credential = :key ORDER BY id",
        id=str(key),
        key=f"key {key}",
    )
    assert [row.action for row in rows] == ["key_added", "key_used", "key_used", "key_revoked"]


def test_rows_are_listed_the_newest_first_and_of_one_user(store: Store) -> None:
    user, other = store.user(), store.user()
    for one in (user, other, user):
        audit.record(store.db, Action.EXPORTED, user_id=one, address="192.0.2.1")
    audit.record(store.db, Action.USER_DELETED, object_id=user)

    found = audit.listed(store.db, 10, user_id=user)

    assert [one.action for one in found] == ["user_deleted", "exported", "exported"]
    assert audit.listed(store.db, 10, found[0].id, user_id=user) == found[1:]
    assert audit.listed(store.db, 1, user_id=user) == found[:1]
    assert audit.listed(store.db, 10, user_id=user, action=Action.EXPORTED) == found[1:]


def test_old_rows_are_removed_and_others_kept(store: Store) -> None:
    user = store.user()
    for _ in range(2):
        audit.record(store.db, Action.EXPORTED, user_id=user)
    newest, oldest = audit.listed(store.db, 2, user_id=user)
    old = f"UPDATE audit SET at = now() - interval '{KEPT_DAYS} days 1 hour' WHERE id = :id"
    store.run(old, id=oldest.id)

    store.sweep().run()

    assert audit.listed(store.db, 10, user_id=user) == [newest]
