"""Shows one answer until it ends, then says how it ended."""

import sys

from cli.command_options import write_json
from cli.exit_status import BY_STATUS, Exit
from cli.screen import Screen, visible
from outlive_client import Answer, End, Message, Outlive, OutliveError, ProofMismatch
from shared.lifecycle import Status


def show_answer(service: Outlive, answer: Answer, *, as_json: bool, no_reasoning: bool) -> int:
    """Show an answer until it ends; the command's exit status."""
    screen = Screen(sys.stdout, sys.stderr, silent=as_json, reasoning=not no_reasoning)
    answer.on_cut = lambda: screen.wait_for("reconnecting")
    mismatch: ProofMismatch | None = None
    try:
        screen.wait_for(lambda: _phase(service, answer.id))
        for delta in answer:
            screen.show(delta)
    except ProofMismatch as error:
        mismatch = error
    except KeyboardInterrupt:
        screen.close()
        screen.note(f"The answer goes on without you. Come back: outlive follow {answer.id}")
        screen.note(f"End it: outlive stop {answer.id}")
        raise SystemExit(Exit.INTERRUPTED) from None
    finally:
        screen.close()
    assert answer.end is not None
    if mismatch is not None:
        _show_stored(mismatch.message, screen, as_json=as_json)
    if as_json:
        write_json(service.message(answer.id).raw)
    _note_end(screen, answer.end, answer.id)
    return Exit.UNPROVEN if mismatch is not None else BY_STATUS[Status(answer.end.status)]


def _phase(service: Outlive, message_id: str) -> str:
    """What the answer waits for before its first character."""
    try:
        status = service.message(message_id).status
    except OutliveError:
        return "reconnecting"
    return "waiting for a worker" if status == Status.SENDING else "thinking"


def _show_stored(stored: Message | None, screen: Screen, *, as_json: bool) -> None:
    screen.note("What arrived does not match the answer's length and sha256.")
    if stored is None:
        screen.note("The answer is not there any more.")
    elif not as_json:
        screen.note("This is the answer as it is stored:")
        screen.rewrite(stored.text)


def _note_end(screen: Screen, end: End, message_id: str) -> None:
    """Say why the answer is not complete, and what can be done; nothing if it is complete."""
    if end.error is not None:
        screen.note(visible(f"{end.error.message} ({end.error.code})"))
    elif end.status == Status.CANCELLED:
        screen.note("Stopped; what was written is kept.")
    elif end.finish_reason == "length":
        screen.note("The answer reached the length limit.")
    else:
        return
    screen.hint(f"Go on: outlive continue {message_id}\nAgain: outlive retry {message_id}")
