"""The broker's connection: how soon it is back."""

import pytest
from kombu.exceptions import OperationalError
from kombu.utils import functional

from shared.broker import RECONNECT_PAUSES
from shared.jobs import make_app
from shared.settings import Settings


def test_reconnect_pauses_stay_short_however_long_redis_is_away(
    monkeypatch: pytest.MonkeyPatch, nowhere: str
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(functional, "sleep", slept.append)
    monkeypatch.setenv("REDIS_URL", f"redis://{nowhere}/0")
    app = make_app(Settings.from_env())
    pauses: list[float] = []

    with pytest.raises(OperationalError), app.connection_for_read() as connection:
        connection.ensure_connection(lambda _, pause: pauses.append(pause), 12)

    first, step, most = RECONNECT_PAUSES
    assert pauses[:3] == [first, first + step, first + 2 * step]
    assert max(pauses) == pauses[-1] == most
    assert sum(slept) == pytest.approx(sum(pauses))
