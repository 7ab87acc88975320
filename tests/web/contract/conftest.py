"""The documents: that of this code, and that of the last release."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from local.processes import ROOT
from shared import logs
from shared.settings import Settings
from web import app as web_app

SETTINGS = Settings.model_construct(database_url="postgresql+psycopg2://localhost/none")


def released() -> dict[str, Any]:
    """The document of the last release."""
    files = sorted(
        (ROOT / "docs" / "api").glob("openapi-*.json"),
        key=lambda file: [int(one) for one in file.stem.removeprefix("openapi-").split(".")],
    )
    return dict(json.loads(files[-1].read_text()))


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    """The app as web makes it; nothing connects, and this process stays as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web_app, "cooperate", lambda: None)
        patch.setattr(logs, "configure", lambda: None)
        yield web_app.create_app(SETTINGS)


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    """The document of this code, as it is served."""
    answer = app.test_client().get("/api/openapi.json", headers={"Host": "localhost"})
    assert answer.status_code == 200
    return dict(answer.get_json())
