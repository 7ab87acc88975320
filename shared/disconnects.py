"""When an answer is stopped because its last reader left: never, at once, or some time after.

Said as `continue`, `stop` or `stop-after=SECONDS` for a request (Outlive-On-Disconnect), a service
key, or the deployment. Kept with an answer as seconds.
"""

import re
from typing import Final

#: What may be said.
PATTERN: Final = r"^(continue|stop|stop-after=[0-9]{1,5}(\.[0-9]{1,3})?)$"
FORMS: Final = "continue, stop or stop-after=SECONDS (like 30 or 2.5, less than 100,000)"

_STOP_AFTER: Final = "stop-after="


def seconds_of(said: str) -> float | None:
    """Seconds from when the last reader left until the answer is stopped; None: it goes on.

    Raises ValueError, with a sentence.
    """
    if not re.match(PATTERN, said, re.ASCII) or said.endswith("\n"):
        raise ValueError(f"It must be {FORMS}.")
    if said == "continue":
        return None
    return 0.0 if said == "stop" else float(said.removeprefix(_STOP_AFTER))
