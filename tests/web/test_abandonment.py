"""Who says what becomes of an answer when its readers leave: request, key, deployment."""

import uuid
from collections.abc import Mapping

import pytest
from flask import Flask, g

from shared.errors import Invalid
from shared.settings import Settings
from web import abandonment
from web.auth.principal import Credential, Principal


def found(
    deployment: str, key: str | None, headers: Mapping[str, str], *, in_background: bool = False
) -> float | None:
    settings = Settings.model_construct(on_disconnect=deployment)
    with Flask("test").test_request_context(headers=headers):
        g.principal = Principal(
            uuid.uuid4(), frozenset(), Credential("key", str(uuid.uuid4())), on_disconnect=key
        )
        return abandonment.seconds(settings, in_background=in_background)


@pytest.mark.parametrize(
    ("deployment", "key", "said", "seconds"),
    [
        ("continue", None, None, None),
        ("stop-after=9", None, None, 9.0),
        ("stop-after=9", "stop", None, 0.0),
        ("stop", "continue", None, None),
        ("stop", "stop-after=9", "stop-after=1", 1.0),
        ("stop", "stop", "continue", None),
    ],
)
def test_the_request_says_else_its_key_else_the_deployment(
    deployment: str, key: str | None, said: str | None, seconds: float | None
) -> None:
    headers = {} if said is None else {abandonment.HEADER: said}

    assert found(deployment, key, headers) == seconds


@pytest.mark.parametrize(("said", "seconds"), [(None, None), ("stop-after=7", 7.0)])
def test_in_the_background_only_the_request_itself_says(
    said: str | None, seconds: float | None
) -> None:
    headers = {} if said is None else {abandonment.HEADER: said}

    assert found("stop", "stop", headers, in_background=True) == seconds


@pytest.mark.parametrize("said", ["", "perhaps", "stop-after=x"])
def test_a_wrong_header_is_refused(said: str) -> None:
    with pytest.raises(Invalid, match=abandonment.HEADER):
        found("continue", None, {abandonment.HEADER: said})


def test_a_wrong_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLIVE_ON_DISCONNECT", "perhaps")

    with pytest.raises(SystemExit, match="OUTLIVE_ON_DISCONNECT"):
        Settings.from_env()
