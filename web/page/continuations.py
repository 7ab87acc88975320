"""What an answer continues: the end of the answer before it, as it is shown.

An answer that was cut in the middle of a table, a fence or a word is shown together with its
continuation as one text (`blocks.Rest`). Continuations may be continued, so the end of one depends
on all before it. Each end is computed once in a process, and kept for a while.
"""

import uuid
from collections.abc import Iterable
from typing import Final

from shared.errors import NotFound
from shared.store import messages
from shared.store.database import Database
from shared.store.messages import Message
from web.page.blocks import Rest
from web.page.render_cache import RenderCache

#: Answers that are read to find the end of the last one. What comes before them counts as whole.
CHAIN_MAX: Final = 32


def rest_of(
    db: Database,
    cache: RenderCache,
    user_id: uuid.UUID,
    message_id: uuid.UUID | None,
    at_hand: Iterable[Message] = (),
) -> Rest | None:
    """The end of the answer that another one continues; None if there is none, or no text in it.

    `at_hand`: messages that were read already. Whoever may read a message may read what it
    continues: both are in one conversation. Raises StorageDown.
    """
    there = {message.id: message for message in at_hand} if message_id else {}
    chain: list[Message] = []
    known: tuple[Rest | None] | None = None
    while message_id is not None and len(chain) < CHAIN_MAX:
        known = cache.known_rest(message_id)
        if known:
            break
        try:
            message = there.get(message_id) or messages.load(db, message_id, user_id)
        except NotFound:
            break
        chain.append(message)
        message_id = message.continues_id
    rest = known[0] if known else None
    for message in reversed(chain):
        rest = cache.rest(message, rest)
    return rest
