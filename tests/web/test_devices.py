"""Where a user's other devices are reading, and the code that opens a place."""

import io

import pytest
import segno

from scripted import done, finish, say, script
from tests.client import Client, new_id
from tests.web.wire import problem

IPHONE = "Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1"


def report(client: Client, device: str, agent: str = IPHONE, **place: object) -> list[object]:
    sent = client.http.post(
        "/api/devices", json={"device": device, **place}, headers={"User-Agent": agent}
    )
    assert sent.status_code == 200
    return list(sent.json()["items"])


def test_a_device_learns_of_the_others_until_they_leave(client: Client) -> None:
    one, other, message = new_id(), new_id(), new_id()
    report(client, one, message_id=message, position=3)
    mine = {"device": "phone Safari", "message_id": message, "position": 3}

    assert mine in report(client, other, message_id=message, position=9)
    assert report(client, one) == []
    assert mine not in report(client, other, message_id=message)
    report(client, other)


def test_what_is_reported_is_checked(client: Client) -> None:
    for odd in (
        {}, {"device": "x"}, {"device": new_id(), "position": -1},
        {"device": new_id(), "message_id": "y"}, {"device": new_id(), "more": 1},
    ):  # fmt: skip
        problem(client.http.post("/api/devices", json=odd), 422, "invalid")


def test_devices_are_bounded(client: Client) -> None:
    message, devices = new_id(), [new_id() for _ in range(20)]
    for device in devices:
        found = report(client, device, message_id=message)
    assert len(found) == 15
    for device in devices:
        report(client, device)


@pytest.mark.usefixtures("worker")
def test_the_code_holds_the_address_of_the_place(client: Client) -> None:
    conversation = client.conversation()
    asked = client.http.post(
        f"/api/conversations/{conversation}/messages",
        json={"content": script(say("Because."), finish(), done())},
    ).json()
    answer = asked["assistant"]["id"]
    place = f"/api/messages/{answer}/code"

    code = client.http.get(place, params={"position": "7"})

    assert code.status_code == 200
    assert code.headers["content-type"].startswith("image/svg+xml")
    assert "style=" not in code.text
    drawn = io.BytesIO()
    address = f"{str(client.http.base_url).rstrip('/')}/c/{conversation}#{answer}.7"
    segno.make(address, error="m", micro=False).save(
        drawn, kind="svg", border=4, omitsize=True, xmldecl=False, dark="#000", light="#fff"
    )
    assert code.content == drawn.getvalue()
    for odd in ("-1", "x", "1e3", "end", ""):
        problem(client.http.get(place, params={"position": odd}), 422, "invalid_position")
    problem(client.http.get(f"/api/messages/{new_id()}/code"), 404, "not_found")
