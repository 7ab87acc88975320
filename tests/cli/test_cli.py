"""The command line: its arguments, the addresses it finds, what its screen shows."""

import io
import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cli import addresses, command_options, deployment, screen
from cli.__main__ import COMMANDS, LOCAL, outlive
from cli.screen import Screen, visible
from local.server import wait_until
from outlive_client import Delta

runner = CliRunner()


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("0.2", 0.2),
        ("7", 7),
        ('["END", "STOP"]', ["END", "STOP"]),
        ("END", "END"),
        ("high", "high"),
        ('"7"', "7"),
        ("", ""),
        ("a=b", "a=b"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
    ],
)
def test_option_value_is_json_or_else_a_string(argument: str, value: Any) -> None:
    context = click.Context(outlive)

    found = command_options.options(context, click.Option(["--option"]), (f"name={argument}",))

    assert found == {"name": value}


@pytest.mark.parametrize(
    "words",
    [
        ["ask", "--option", "temperature", "Why?"],
        ["ask", "--option", "=1", "Why?"],
        ["ask", "--url", "outlive.example", "Why?"],
        ["ask", "--url", "ftp://outlive.example", "Why?"],
        ["ask", "--url", "http://", "Why?"],
        ["ask", "--url", "http://outlive:port", "Why?"],
        ["ask", "--conversation", "mine", "Why?"],
        ["ask", ""],
        ["ask", "Why?", "Who?"],
        ["follow"],
        ["follow", "that"],
        ["list", "--limit", "0"],
        ["sweep", "--died", "yesterday"],
        ["nonsense"],
    ],
)
def test_usage_error_exits_with_2(words: list[str]) -> None:
    assert runner.invoke(outlive, words).exit_code == 2


def test_system_prompt_is_refused_for_an_existing_conversation() -> None:
    existing = "0b7a3f0e-4b8c-4a55-9d43-0d6a4f6b2f10"

    refused = runner.invoke(outlive, ["ask", "--conversation", existing, "--system", "Hm.", "Why?"])

    assert refused.exit_code == 2
    assert "--system is for a new conversation" in refused.output


def test_empty_question_is_refused() -> None:
    assert "The question is empty" in runner.invoke(outlive, ["ask"], input="\n").output


def test_every_command_is_listed_with_a_sentence_of_help() -> None:
    context = click.Context(outlive)

    assert set(outlive.list_commands(context)) == COMMANDS.keys() | LOCAL.keys()
    for name in outlive.list_commands(context):
        command = outlive.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(100).endswith("."), name


# --- addresses -----------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, while no `outlive up` runs in the repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(addresses, "_ROOT", tmp_path / "repository")
    for _, part in deployment.SERVERS.values():
        assert addresses.running(part) is None
    return tmp_path


def write_state(folder: Path, state: Any) -> None:
    (folder / "var").mkdir(parents=True)
    (folder / "var" / "outlive.json").write_text(json.dumps(state))


def test_default_address_is_port_8000(here: Path) -> None:
    assert addresses.web() == "http://127.0.0.1:8000"


def test_running_service_is_found_in_the_directory_or_the_repository(here: Path) -> None:
    write_state(here / "repository", {"web": {"url": "http://127.0.0.1:2"}})
    assert addresses.web() == "http://127.0.0.1:2"

    write_state(here, {"web": {"url": "http://127.0.0.1:1"}})
    assert addresses.web() == "http://127.0.0.1:1"


@pytest.mark.parametrize("state", [{}, [], {"web": None}, {"web": {}}])
def test_outlive_json_without_an_address_is_ignored(here: Path, state: Any) -> None:
    write_state(here, state)

    assert addresses.web() == addresses.DEFAULT_URL


STATE = {
    "postgres": {"url": "postgresql://127.0.0.1:1/outlive"},
    "redis": {"url": "redis://127.0.0.1:2/0"},
}


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Restores the servers' variables after the test."""
    for variable, _ in deployment.SERVERS.values():
        monkeypatch.setenv(variable, "")
    return monkeypatch


def test_admin_commands_use_the_running_servers(here: Path, environ: pytest.MonkeyPatch) -> None:
    write_state(here, STATE)

    settings = deployment.settings()

    assert settings.database_url == "postgresql+psycopg2://127.0.0.1:1/outlive"
    assert settings.redis_url == "redis://127.0.0.1:2/0"


def test_one_server_in_the_environment_excludes_both_running_ones(
    here: Path, environ: pytest.MonkeyPatch
) -> None:
    write_state(here, STATE)
    environ.setenv("DATABASE_URL", "postgresql://elsewhere/outlive")

    settings = deployment.settings()

    assert "elsewhere" in settings.database_url
    assert settings.redis_url == "redis://localhost:6379/0"


# --- the screen ----------------------------------------------------------------------------------


def shown(*deltas: Delta, terminal: bool, **options: bool) -> str:
    """What standard output gets for these deltas."""
    out = Terminal() if terminal else io.StringIO()
    made = Screen(out, io.StringIO(), **options)
    for delta in deltas:
        made.show(delta)
    made.close()
    made.close()
    return out.getvalue()


REASONING = (Delta(0, 0, "reasoning", "Hm."), Delta(3, 1, "text", "42"))
TOOL = (Delta(0, 0, "tool_call", '{"city":', {"name": "weather"}), Delta(8, 0, "tool_call", "1}"))


def test_pipe_gets_the_text_alone() -> None:
    assert shown(*REASONING, terminal=False) == "42"
    assert shown(*TOOL, terminal=False) == ""


def test_terminal_gets_reasoning_and_tool_calls_dimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")

    assert shown(*REASONING, terminal=True) == "\x1b[2mHm.\x1b[0m\n\n42\n"
    dimmed = shown(*TOOL, terminal=True)
    assert re.sub("\x1b.*?m", "", dimmed) == '[weather] {"city":1}\n'


def test_no_color_means_not_dimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert shown(*REASONING, terminal=True) == "Hm.\n\n42\n"


def test_reasoning_can_be_left_out() -> None:
    assert shown(*REASONING, terminal=True, reasoning=False) == "42\n"


def test_adjacent_text_parts_have_no_gap() -> None:
    texts = (Delta(0, 0, "text", "4"), Delta(1, 1, "text", "2\n"))

    assert shown(*texts, terminal=True) == "42\n"


def test_control_characters_of_a_model_are_made_visible() -> None:
    evil = "\x1b]52;c;cm0gLXJm\x07\x9b2J\r\x7f\ttab\nline"

    assert visible(evil) == "\u241b]52;c;cm0gLXJm\u2407\ufffd2J\u240d\u2421\ttab\nline"
    assert shown(Delta(0, 0, "text", evil), terminal=False) == evil


def test_progress_line_is_drawn_and_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "TICK", 0.001)
    err, asked = Terminal(), iter(["waiting for a worker"])

    made = Screen(io.StringIO(), err)
    made.wait_for(lambda: next(asked, "thinking"))
    assert wait_until(lambda: "thinking…" in err.getvalue(), 10)
    made.show(Delta(0, 0, "text", "42"))

    assert "waiting for a worker… 0s" in err.getvalue()
    assert err.getvalue().endswith("\x1b8\x1b[K")
    made.close()
