"""What becomes of an answer when its last reader leaves: as its request, or a default, says.

It is asked for where questions are taken (`web/asking.py`), and not in each face: so it is the same
in all dialects.
"""

from typing import Final

from flask import g, has_request_context, request

from shared.disconnects import seconds_of
from shared.errors import Invalid
from shared.settings import Settings

#: The header of a request.
HEADER: Final = "Outlive-On-Disconnect"


def seconds(settings: Settings, *, in_background: bool = False) -> float | None:
    """Seconds from when the last reader left until the answer is stopped; None: it goes on.

    Says the request, else the service key that asks, else the deployment. What the request wants
    in the background goes on whatever these two say: nobody need read it. Raises Invalid.
    """
    if not has_request_context():
        return seconds_of(settings.on_disconnect)
    said = request.headers.get(HEADER)
    if said is not None:
        try:
            return seconds_of(said)
        except ValueError as error:
            raise Invalid(f"{HEADER}: {error}") from None
    if in_background:
        return None
    who = g.get("principal")
    return seconds_of((who and who.on_disconnect) or settings.on_disconnect)
