"""Lists in pages: order, cursors, limits."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Invalid
from tests.client import Client
from tests.web.wire import problem
from web.paging import decode_cursor, encode_cursor


def test_list_is_newest_first_in_pages_that_new_items_do_not_move(client: Client) -> None:
    made = [client.conversation(title=str(n)) for n in range(7)]

    found: list[str] = []
    cursor, pages = None, 0
    while len(found) < 7:
        query = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = client.http.get("/api/conversations", params=query).json()
        assert set(page) == {"items", "next"}
        assert len(page["items"]) == 3
        found += [item["id"] for item in page["items"]]
        cursor, pages = page["next"], pages + 1
    assert pages == 3
    assert found[:7] == made[::-1]

    # What is new meanwhile moves nothing.
    first = client.http.get("/api/conversations", params={"limit": 3}).json()
    client.conversation()
    then = {"limit": 3, "cursor": first["next"]}
    second = client.http.get("/api/conversations", params=then).json()
    assert [item["id"] for item in second["items"]] == made[3::-1][:3]


def test_last_page_has_no_next(client: Client) -> None:
    client.conversation()
    seen: set[str] = set()
    query: dict[str, str] = {"limit": "200"}
    while True:
        page = client.http.get("/api/conversations", params=query).json()
        ids = {item["id"] for item in page["items"]}
        assert not seen & ids
        seen |= ids
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_limit"),
        ("limit=201", "invalid_limit"),
        ("limit=-1", "invalid_limit"),
        ("limit=many", "invalid_limit"),
        ("limit=", "invalid_limit"),
        ("limit=99999999999999999999", "invalid_limit"),
        ("limit=0000000011000000", "invalid_limit"),
        ("cursor=OTAwMDAwMDAwMDAwMDAwMDAwMA", "invalid_cursor"),  # a moment that no date can hold
        ("cursor=banana", "invalid_cursor"),
        ("cursor=MTIz!", "invalid_cursor"),
        ("cursor=LTE", "invalid_cursor"),
        ("cursor=%F0%9F%98%80", "invalid_cursor"),
    ],
)
def test_invalid_limit_or_cursor_is_refused(client: Client, query: str, code: str) -> None:
    problem(client.http.get(f"/api/conversations?{query}"), 422, code)


@given(st.integers(0, (1 << 57) - 1))
def test_cursor_names_its_place_and_can_stand_in_a_url(seq: int) -> None:
    name = encode_cursor(seq)

    assert decode_cursor(name) == seq
    assert name.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("place", ["-1", str(1 << 63), "1.5", "", "x", "9" * 5000])
def test_cursor_of_an_impossible_place_is_refused(place: str) -> None:
    forged = base64.urlsafe_b64encode(place.encode()).decode()

    with pytest.raises(Invalid, match="invalid_cursor"):
        decode_cursor(forged)


@given(st.text(max_size=12))
def test_any_other_text_is_a_valid_place_or_refused(value: str) -> None:
    with suppress(Invalid):
        assert 0 <= decode_cursor(value) < 1 << 63
