"""The probes."""

from tests.client import Client


def test_healthz_and_readyz_answer_to_any_host(client: Client) -> None:
    alive = client.http.get("/healthz")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    ready = client.http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "postgres": "ok", "redis": "ok"}
    # A load balancer asks by whatever name it likes.
    for path in ("/healthz", "/readyz"):
        assert client.http.get(path, headers={"Host": "10.1.2.3"}).status_code == 200
