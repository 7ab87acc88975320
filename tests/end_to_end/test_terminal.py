"""The command line as a person uses it: real processes in a pseudo terminal."""

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from local import ports
from local.processes import ROOT
from local.programs import Web, Worker
from local.server import wait_until
from scripted import (
    cut,
    done,
    expected,
    finish,
    hold,
    long,
    reasoning,
    say,
    script,
    wrong_key,
)
from tests.client import Client, proof
from tests.rig import PATIENCE, Rig, eventually, killing

DIM, PLAIN = "\x1b[2m", "\x1b[0m"
#: What the progress line draws and erases: never part of an answer.
PROGRESS = re.compile("\x1b7.*?\x1b8|\x1b\\[K", re.DOTALL)
ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

ENV = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}


def command_line(*arguments: object) -> list[str]:
    """The command line that runs `outlive` with these arguments."""
    return [sys.executable, "-m", "cli", *map(str, arguments)]


class Terminal:
    """A command in a pseudo terminal of its own, whose output is recorded."""

    def __init__(self, *arguments: object, env: Mapping[str, str], piped: bool) -> None:
        """`piped`: standard output goes into a pipe; the rest stays the terminal's."""
        self.raw = b""
        self.piped = b""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command_line(*arguments),
            stdin=slave,
            stdout=subprocess.PIPE if piped else slave,
            stderr=slave,
            env={**ENV, **env},
            cwd=ROOT,
            start_new_session=True,
            # Unsafe beside threads that hold locks, as the linter says; these are system calls.
            preexec_fn=_own_terminal,  # noqa: PLW1509
        )
        os.close(slave)
        self._threads = [threading.Thread(target=self._read)]
        if piped:
            self._threads.append(threading.Thread(target=self._read_pipe))
        for thread in self._threads:
            thread.start()

    @property
    def screen(self) -> str:
        """Everything that was written to the terminal."""
        return self.raw.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def text(self) -> str:
        """The same without the progress line."""
        return PROGRESS.sub("", self.screen)

    def wait_for(self, text: str) -> None:
        """Wait until this was written."""
        assert wait_until(lambda: text in self.screen, PATIENCE), self.screen

    def press(self, key: bytes) -> None:
        """Send a key to the terminal."""
        os.write(self._master, key)

    def exit_status(self) -> int:
        """Wait for the end of the command and of its output."""
        status = self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        return status

    def close(self) -> None:
        """Kill the command if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.exit_status()
        os.close(self._master)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # Linux reports a closed terminal so
                return
            if not data:
                return
            self.raw += data

    def _read_pipe(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            while data := os.read(stdout.fileno(), 65536):
                self.piped += data


def _own_terminal() -> None:
    """Make the terminal the controlling one, so that Ctrl-C in it is a signal to the command.

    The test run may ignore that signal (a shell's background jobs do), and children inherit it.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def terminal(web: Web) -> Iterator[Callable[..., Terminal]]:
    """Runs commands of `outlive`, each in a terminal of its own; ends them after the test."""
    with ExitStack() as stack:

        def run(*arguments: object, url: str = web.url, piped: bool = False) -> Terminal:
            made = Terminal(*arguments, env={"OUTLIVE_URL": url}, piped=piped)
            stack.callback(made.close)
            return made

        yield run


@pytest.fixture
def outlive(web: Web) -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    """Runs a command of `outlive` without a terminal, as a script does."""

    def run(
        *arguments: object, url: str = web.url, stdin: bytes = b"", **env: str
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            command_line(*arguments),
            input=stdin,
            capture_output=True,
            env={**ENV, "OUTLIVE_URL": url, **env},
            cwd=ROOT,
            timeout=PATIENCE,
            check=False,
        )

    return run


Run = Callable[..., Terminal]
Outlive = Callable[..., "subprocess.CompletedProcess[bytes]"]


def newest_answer(client: Client) -> str:
    """The id of the answer of the newest conversation."""
    newest = client.http.get("/api/conversations?limit=1").json()["items"][0]
    return str(answers(client, newest["id"])[-1]["id"])


def answers(client: Client, conversation: str) -> list[Any]:
    """The answers of a conversation's newest branch."""
    branch = client.http.get(f"/api/conversations/{conversation}").json()["messages"]
    return [message for message in branch if message["role"] == "assistant"]


# --- asking --------------------------------------------------------------------------------------


def test_answer_is_shown_while_it_is_written(rig: Rig, worker: Worker, terminal: Run) -> None:
    question = script(say("Once upon a time"), hold("shown"), say(" there was."), finish(), done())

    ask = terminal("ask", question)
    ask.wait_for("Once upon a time")
    assert ask.process.poll() is None
    rig.scripted.release("shown")

    assert ask.exit_status() == 0
    assert ask.text.startswith("Once upon a time there was.\n")


def test_pipe_gets_exactly_the_text(worker: Worker, outlive: Outlive) -> None:
    question = "Tell me something with everything awkward in it."

    asked = outlive("ask", stdin=question.encode() + b"\n")

    assert (asked.returncode, asked.stderr) == (0, b"")
    assert expected(question).text == asked.stdout.decode()


def test_reasoning_is_dimmed_in_a_terminal_and_absent_in_a_pipe(
    worker: Worker, terminal: Run, outlive: Outlive
) -> None:
    question = script(reasoning("Hm, let me see."), say("It is 42."), finish(), done())

    shown = terminal("ask", question)
    hidden = terminal("ask", "--no-reasoning", question)
    piped = outlive("ask", question)

    assert shown.exit_status() == hidden.exit_status() == 0
    dimmed = "".join(re.findall(re.escape(DIM) + "(.*?)" + re.escape(PLAIN), shown.text))
    assert dimmed.startswith("Hm, let me see.")
    assert f"{PLAIN}\n\nIt is 42.\n" in shown.text
    assert hidden.text.startswith("It is 42.\n")
    assert piped.stdout == b"It is 42."


def test_question_in_an_existing_conversation(
    client: Client, worker: Worker, outlive: Outlive
) -> None:
    first = json.loads(outlive("ask", "--json", "--system", "Be brief.", "One?").stdout)

    second = json.loads(
        outlive("ask", "--json", "--conversation", first["conversation_id"], "Two?").stdout
    )

    branch = answers(client, first["conversation_id"])
    assert [first["id"], second["id"]] == [message["id"] for message in branch]
    listed = outlive("list", first["conversation_id"]).stdout.decode()
    assert f"{second['id']}  assistant  DONE" in listed
    assert first["conversation_id"] in outlive("list").stdout.decode().splitlines()[0]


def test_model_and_options_reach_the_provider(rig: Rig, worker: Worker, outlive: Outlive) -> None:
    question = script(say("Warm."), finish(), done(), tag=str(uuid4()))

    outlive(
        "ask", "--model", "other", "--option", "temperature=0.2", "--option", "seed=7", question
    )

    [record] = [one for one in rig.scripted.requests(contains=question) if one.stream]
    sent = record.request or {}
    assert (sent["model"], sent["temperature"], sent["seed"]) == ("other", 0.2, 7)


def test_json_is_the_stored_message(client: Client, worker: Worker, outlive: Outlive) -> None:
    asked = outlive("ask", "--json", "What is stored?")

    message = json.loads(asked.stdout)
    assert asked.returncode == 0
    assert message == client.message(message["id"])
    assert (message["length"], message["sha256"]) == proof(message["text"])


def test_progress_line_says_that_no_worker_is_there(worker: Worker, terminal: Run) -> None:
    worker.kill()

    ask = terminal("ask", "Is anybody there?")
    ask.wait_for("waiting for a worker… 1s")
    worker.start().wait()

    assert ask.exit_status() == 0
    assert ask.text.startswith(expected("Is anybody there?").text)


# --- cuts ----------------------------------------------------------------------------------------


def test_killed_web_process_costs_no_character(rig: Rig, worker: Worker, terminal: Run) -> None:
    master = rig.web()
    question = script(long(400), hold("killed web"), long(400, seed=1), finish(), done())

    with killing(master):
        ask = terminal("ask", question, url=master.url, piped=True)
        eventually(lambda: len(ask.piped.decode("utf-8", "ignore")) >= 400)
        master.kill()
        ask.wait_for("reconnecting…")
        rig.scripted.release("killed web")
        master.start().wait()

        assert ask.exit_status() == 0
    assert expected(question).text == ask.piped.decode()


def test_unfinished_line_on_the_screen_survives_a_cut(
    rig: Rig, worker: Worker, terminal: Run
) -> None:
    master = rig.web()
    question = script(say("A line that is cut"), hold("cut line"), say(" and whole."), finish())

    with killing(master):
        ask = terminal("ask", question, url=master.url)
        ask.wait_for("A line that is cut")
        master.kill()
        ask.wait_for("reconnecting…")
        rig.scripted.release("cut line")
        master.start().wait()

        assert ask.exit_status() == 0
    assert ask.text.startswith("A line that is cut and whole.\n")


def test_answer_that_needs_many_responses_is_whole(
    rig: Rig, worker: Worker, outlive: Outlive
) -> None:
    master = rig.web(OUTLIVE_STREAM_MAX_SECONDS="0.5")
    question = script(long(900, rate=300), finish(), done())

    with killing(master):
        asked = outlive("ask", question, url=master.url)

    assert (asked.returncode, asked.stderr) == (0, b"")
    assert expected(question).text == asked.stdout.decode()


def test_ctrl_c_leaves_and_the_answer_goes_on(
    rig: Rig, client: Client, worker: Worker, terminal: Run
) -> None:
    question = script(say("It goes"), hold("left"), say(" on."), finish(), done())

    ask = terminal("ask", question)
    ask.wait_for("It goes")
    ask.press(b"\x03")

    assert ask.exit_status() == 130
    [answer] = re.findall(f"outlive follow ({ID.pattern})", ask.text)
    assert ask.text.endswith(f"outlive stop {answer}\n")
    assert client.message(answer)["status"] == "STREAMING"
    follow = terminal("follow", answer)
    follow.wait_for("It goes")
    rig.scripted.release("left")
    assert follow.exit_status() == 0
    assert follow.text.startswith("It goes on.\n")


# --- Stop, Retry, Continue -----------------------------------------------------------------------


def test_stop_retry_and_continue(
    rig: Rig, client: Client, worker: Worker, terminal: Run, outlive: Outlive
) -> None:
    question = script(say("The first half"), hold("stopped"), say(", the rest."), finish(), done())

    ask = terminal("ask", question)
    ask.wait_for("The first half")
    first = newest_answer(client)
    stop = outlive("stop", first)

    assert (stop.returncode, stop.stderr) == (0, b"")
    assert ask.exit_status() == 3
    assert ask.text.startswith("The first half\nStopped; what was written is kept.\n")
    assert f"outlive continue {first}" in ask.text
    again = outlive("stop", first)
    assert (again.returncode, again.stdout) == (0, b"Stopped; what was written is kept.\n")

    retry = terminal("retry", first)
    rig.scripted.release("stopped")
    assert retry.exit_status() == 0
    assert retry.text.startswith("The first half, the rest.\n")

    go_on = outlive("continue", "--json", first)
    assert go_on.returncode == 0
    assert json.loads(go_on.stdout)["continues_id"] == first
    assert client.message(first)["text"] == "The first half"


def test_complete_answer_cannot_be_continued(worker: Worker, outlive: Outlive) -> None:
    answer = json.loads(outlive("ask", "--json", "All of it?").stdout)["id"]

    refused = outlive("continue", answer)

    assert refused.returncode == 1
    assert b"This answer is complete" in refused.stderr


# --- failures ------------------------------------------------------------------------------------


def test_failed_answer_keeps_its_beginning(worker: Worker, outlive: Outlive) -> None:
    asked = outlive("ask", script(say("Half of it"), cut()))

    assert (asked.returncode, asked.stdout) == (1, b"Half of it")
    assert b"(provider_cut)" in asked.stderr


def test_refusal_of_the_provider_is_reported(worker: Worker, outlive: Outlive) -> None:
    asked = outlive("ask", script(wrong_key()))

    assert (asked.returncode, asked.stdout) == (1, b"")
    assert b"(provider_rejected)" in asked.stderr


@pytest.mark.parametrize("command", ["follow", "stop", "retry", "continue", "list"])
def test_unknown_id_is_not_found(command: str, outlive: Outlive) -> None:
    refused = outlive(command, uuid4())

    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"(not_found)" in refused.stderr


def test_unreachable_service_exits_with_4(outlive: Outlive) -> None:
    with ports.listen(0, "127.0.0.1", 1) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    asked = outlive("ask", "Hello?", url=url)

    assert asked.returncode == 4
    assert f"Nothing answers at {url}." in asked.stderr.decode()


# --- the operator's commands ---------------------------------------------------------------------


def operator(rig: Rig) -> dict[str, str]:
    """The two servers' addresses, for an operator's command."""
    env = rig.env()
    return {name: env[name] for name in ("DATABASE_URL", "REDIS_URL")}


def test_sweep_with_died_ends_a_dead_workers_answer_at_once(
    rig: Rig, client: Client, worker: Worker, outlive: Outlive
) -> None:
    answer = client.ask(script(say("All that was shown"), hold("swept")))
    client.shown(answer, len("All that was shown"))
    boot = worker.boot
    worker.kill()

    swept = outlive("sweep", "--died", boot, "--json", **operator(rig))

    assert swept.returncode == 0
    assert json.loads(swept.stdout)["ended"] >= 1
    message = client.message(answer)
    assert (message["status"], message["text"]) == ("ERROR", "All that was shown")
    assert message["error"]["code"] == "worker_lost"


def test_sweep_prints_what_it_did(rig: Rig, outlive: Outlive) -> None:
    swept = outlive("sweep", **operator(rig))

    assert swept.returncode == 0
    assert swept.stdout.startswith(b"0 ended, 0 restarted, ")


def test_migrate_can_be_repeated(rig: Rig, outlive: Outlive) -> None:
    migrated = outlive("migrate", **operator(rig))

    assert migrated.returncode == 0
    assert migrated.stdout.startswith(b"The database is at ")


@pytest.mark.parametrize("command", ["sweep", "migrate"])
def test_unreachable_database_exits_with_4(rig: Rig, outlive: Outlive, command: str) -> None:
    env = operator(rig) | {"DATABASE_URL": "postgresql://127.0.0.1:1/none"}

    done = outlive(command, **env)

    assert done.returncode == 4
    assert b"does not answer. Start it" in done.stderr


def test_closed_pipe_ends_the_command_quietly(worker: Worker, web: Web) -> None:
    process = subprocess.Popen(
        command_line("ask", script(long(2000, rate=1000), finish(), done())),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**ENV, "OUTLIVE_URL": web.url},
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as stdout:
        stdout.read(1)
    with process.stderr as stderr:
        errors = stderr.read()

    assert process.wait(PATIENCE) == 1
    assert errors == b""


def test_local_commands_are_run_and_listed(outlive: Outlive) -> None:
    assert b"--no-flower" in outlive("up", "--help").stdout
    helped = outlive("--help").stdout.decode()
    for command in ("up", "ask", "follow", "stop", "retry", "continue", "list", "sweep", "test"):
        assert re.search(f"^  {command}  ", helped, re.MULTILINE), command


def test_local_runs_the_commands_of_cli() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "local", "follow", "nonsense"],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )

    assert asked.returncode == 2
    assert asked.stderr.startswith(b"Usage: outlive follow")
