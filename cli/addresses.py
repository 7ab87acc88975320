"""Where the service is: an option, the environment, a running `outlive up`, or the default."""

import json
from pathlib import Path
from typing import Final

DEFAULT_URL: Final = "http://127.0.0.1:8000"

#: `outlive up` keeps its data in `var/` of the repository, unless it is told otherwise.
_ROOT = Path(__file__).resolve().parents[1]


def running(part: str) -> str | None:
    """The URL of a part of the `outlive up` that runs here, as its outlive.json tells."""
    for folder in (Path.cwd(), _ROOT):
        try:
            state = json.loads((folder / "var" / "outlive.json").read_text())
            return str(state[part]["url"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not there, not ours to read, or without that part
    return None


def web() -> str:
    """Where to talk HTTP when nobody said where."""
    return running("web") or DEFAULT_URL
