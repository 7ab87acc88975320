"""Which right each endpoint asks for. To change a route's right, change its row here.

`web/auth.py` checks the row before the route runs. An endpoint without a row is answered like an
address that does not exist, and `test_every_endpoint_has_a_right` fails.
"""

from enum import Enum
from typing import Final


class Right(Enum):
    """What a principal may do."""

    #: Nothing is asked, neither a credential nor one of our names: for a load balancer's probes.
    PUBLIC = "public"
    #: See what belongs to no user: the pages and their files, the models, the metrics.
    USE = "use"
    #: Read one's own conversations.
    READ_OWN = "read own"
    #: Change one's own conversations, and ask in them.
    WRITE_OWN = "write own"
    #: See what runs, for all users.
    OPERATE = "operate"


RIGHTS: Final[dict[str, Right]] = {
    # health.py
    "health.alive": Right.PUBLIC,
    "health.ready": Right.PUBLIC,
    "health.prometheus": Right.USE,
    # views.py, and the files of the pages
    "static": Right.USE,
    "pages.page": Right.USE,
    "pages.dashboard": Right.OPERATE,
    "pages.dashboard_state": Right.OPERATE,
    # faces/native.py
    "native.create_conversation": Right.WRITE_OWN,
    "native.list_conversations": Right.READ_OWN,
    "native.show_conversation": Right.READ_OWN,
    "native.change_conversation": Right.WRITE_OWN,
    "native.delete_conversation": Right.WRITE_OWN,
    "native.undelete_conversation": Right.WRITE_OWN,
    "native.see_conversation": Right.WRITE_OWN,
    "native.search_conversations": Right.READ_OWN,
    "native.list_models": Right.USE,
    "native.ask": Right.WRITE_OWN,
    "native.retry": Right.WRITE_OWN,
    "native.go_on": Right.WRITE_OWN,
    "native.show_message": Right.READ_OWN,
    "native.stop": Right.WRITE_OWN,
    "native.stream": Right.READ_OWN,
    # faces/blocks.py
    "blocks.stream": Right.READ_OWN,
    "blocks.blocks": Right.READ_OWN,
    "blocks.turns": Right.READ_OWN,
    # faces/notices.py
    "notices.notices": Right.READ_OWN,
    "notices.older": Right.READ_OWN,
}
