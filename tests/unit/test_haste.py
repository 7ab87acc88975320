"""A limit to what somebody's text may cost, and to what a library's bug may spoil."""

import pytest
import structlog
from structlog.testing import capture_logs

from web import markdown
from web.haste import attempt


def test_what_takes_too_long_is_done_otherwise() -> None:
    def for_ever() -> str:
        while True:
            pass

    assert attempt(0.05, for_ever, lambda: "otherwise") == "otherwise"


def test_a_bug_in_a_library_spoils_no_more_than_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise IndexError("a secret")

    structlog.reset_defaults()
    with capture_logs() as logged, monkeypatch.context() as patch:
        patch.setattr(markdown._Renderer, "render", broken)
        html = markdown.markdown_html("**a** <b>")

    assert html == "<p>**a** &lt;b&gt;</p>"
    assert [one["error"] for one in logged] == ["IndexError"]
    assert "secret" not in str(logged)
