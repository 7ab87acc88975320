"""Ask an Outlive service, and read its answers through every cut.

    from outlive_client import Outlive

    with Outlive("http://127.0.0.1:8000") as outlive:
        for text in outlive.ask("Why is the sky blue?").texts():
            print(text, end="", flush=True)

`AsyncOutlive` has the same methods, to be awaited.
"""

from outlive_client._async import AsyncAnswer, AsyncOutlive
from outlive_client._calls import NEWEST
from outlive_client._errors import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    OutliveError,
    ProofMismatch,
    TooMany,
    Unauthorized,
    Unreachable,
)
from outlive_client._models import (
    Asked,
    Conversation,
    Delta,
    End,
    Failure,
    Hit,
    Message,
    Models,
    Page,
    Part,
    Piece,
    Share,
    Shared,
    Sibling,
    Usage,
    Use,
)
from outlive_client._sync import Answer, Outlive

__all__ = [
    "NEWEST",
    "Answer",
    "ApiError",
    "Asked",
    "AsyncAnswer",
    "AsyncOutlive",
    "Conflict",
    "Conversation",
    "Delta",
    "End",
    "Failure",
    "Forbidden",
    "Hit",
    "Invalid",
    "Message",
    "Models",
    "NotFound",
    "Outlive",
    "OutliveError",
    "Page",
    "Part",
    "Piece",
    "ProofMismatch",
    "Share",
    "Shared",
    "Sibling",
    "TooMany",
    "Unauthorized",
    "Unreachable",
    "Usage",
    "Use",
]
