"""What a credential may be limited to: the names that service keys and tokens carry."""

from enum import StrEnum


class Scope(StrEnum):
    """A scope; `web/auth/scopes.py` says which rights each gives."""

    #: read one's own conversations
    READ = "read"
    #: read, change and ask
    ASK = "ask"
    #: see and administer the whole service
    ADMIN = "admin"
    #: make requests for the host product's users, whom each request names; for service keys
    ACT_AS = "act_as"
