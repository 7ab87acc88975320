"""Where the service is: an option, the environment, a running `outlive up`, or the default."""

import json
from pathlib import Path
from typing import Final

DEFAULT_URL: Final = "http://127.0.0.1:8000"

#: `outlive up` keeps its data in `var/` of the repository unless it gets --data.
_ROOT = Path(__file__).resolve().parents[1]


def running(part: str) -> str | None:
    """The URL of one part of the `outlive up` that runs here, as its outlive.json says."""
    for folder in (Path.cwd(), _ROOT):
        try:
            state = json.loads((folder / "var" / "outlive.json").read_text())
            return str(state[part]["url"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not there, not readable for us, or without that part
    return None


def web() -> str:
    """The service's URL when neither --url nor OUTLIVE_URL is given."""
    return running("web") or DEFAULT_URL
