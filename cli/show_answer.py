"""Shows one answer until it ends, then says how it ended."""

import sys
import uuid

from cli.api_client import Api, ApiError, Json, RequestRefused
from cli.command_options import write_json
from cli.exit_status import BY_STATUS, Exit
from cli.resuming_stream import ResumingStream
from cli.screen import Screen, visible
from shared.lifecycle import Status


def show_answer(api: Api, message_id: uuid.UUID, *, as_json: bool, no_reasoning: bool) -> int:
    """Show an answer until it ends; the command's exit status."""
    screen = Screen(sys.stdout, sys.stderr, silent=as_json, reasoning=not no_reasoning)
    stream = ResumingStream(api, message_id)
    try:
        screen.wait_for(lambda: _phase(api, message_id))
        for delta in stream.deltas(lambda: screen.wait_for("reconnecting")):
            screen.show(delta)
    except KeyboardInterrupt:
        screen.close()
        screen.note(f"The answer goes on without you. Come back: outlive follow {message_id}")
        screen.note(f"End it: outlive stop {message_id}")
        raise SystemExit(Exit.INTERRUPTED) from None
    finally:
        screen.close()
    return _report_end(api, stream, screen, as_json=as_json)


def _phase(api: Api, message_id: uuid.UUID) -> str:
    """What the answer waits for before its first character."""
    try:
        status = api.message(message_id)["status"]
    except ApiError:
        return "reconnecting"
    return "waiting for a worker" if status == Status.SENDING else "thinking"


def _report_end(api: Api, stream: ResumingStream, screen: Screen, *, as_json: bool) -> int:
    end = stream.end or {}
    status = BY_STATUS[Status(end["status"])]
    if not stream.proven:
        status = Exit.UNPROVEN
        _show_stored(api, stream.message_id, screen, as_json=as_json)
    if as_json:
        write_json(api.message(stream.message_id))
    _note_end(screen, end, stream.message_id)
    return status


def _show_stored(api: Api, message_id: uuid.UUID, screen: Screen, *, as_json: bool) -> None:
    screen.note("What arrived does not match the answer's length and sha256.")
    try:
        text = api.message(message_id)["text"]
    except RequestRefused as error:
        screen.note(str(error))
        return
    if not as_json:
        screen.note("This is the answer as it is stored:")
        screen.rewrite(text)


def _note_end(screen: Screen, end: Json, message_id: uuid.UUID) -> None:
    """Say why the answer is not complete, and what can be done; nothing if it is complete."""
    if end["error"]:
        screen.note(visible(f"{end['error']['message']} ({end['error']['code']})"))
    elif end["status"] == Status.CANCELLED:
        screen.note("Stopped; what was written is kept.")
    elif end["finish_reason"] == "length":
        screen.note("The answer reached the length limit.")
    else:
        return
    screen.hint(f"Go on: outlive continue {message_id}\nAgain: outlive retry {message_id}")
