"""Redis users for web, worker and Flower: an ACL file with exactly what each of them does. Pure.

None of them can use FLUSHALL, CONFIG, DEBUG, KEYS or any other command that is not in its list. All
are confined to the keys and channels of one prefix (see `keys`). A command that a process needs and
that is missing here is an entry in Redis' ACL LOG; a test runs all three and expects none.

Redis 7.0 or newer is needed, or Valkey: older ones do not know keys that may only be read.
"""

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

#: What every client of redis-py sends, and a transaction. (A client gives its name and version. One
#: of these subcommands is newer than Redis 7.0, which would refuse a file that names it.)
_ALL: Final = (
    "ping select multi exec discard client -client|kill -client|list -client|pause -client|unpause"
    " -client|unblock -client|no-evict -client|tracking"
)
#: Celery's messages among its processes.
_CELERY: Final = (
    "publish psubscribe punsubscribe brpop lpush llen exists get set del pexpire sadd srem smembers"
    " time evalsha script|load script|exists zadd zrem zrange zrangebyscore"
)
#: The live logs, and the wake-ups.
_LIVE: Final = "xrange xadd pexpire del publish subscribe unsubscribe info"


class Role(NamedTuple):
    """What one kind of process may do; `{prefix}` and `{db}` are the deployment's.

    Of a command with a minus sign before it, it may not use that subcommand.
    """

    commands: str
    keys: tuple[str, ...]
    channels: tuple[str, ...]


_QUEUE: Final = "~{prefix}"
_OURS: Final = "~{prefix}:*"
_CELERYS: Final = ("~{prefix}.*", "~*.{prefix}.pidbox")
#: (A pattern that is subscribed to has to be here as it is.)
_CONTROL: Final = ("&/{db}.{prefix}.pidbox", "&/{db}.{prefix}.events*")
_EVENTS: Final = "&/{db}.{prefix}.events/*"

ROLES: Final = {
    "web": Role(
        f"{_ALL} {_LIVE} lpush hset hgetall hdel expire set getdel incrby time pubsub|numsub",
        (_QUEUE, _OURS),
        ("&{prefix}:*", _EVENTS),
    ),
    "worker": Role(
        f"{_ALL} {_CELERY} {_LIVE} xrevrange",
        (_QUEUE, _OURS, *_CELERYS),
        ("&{prefix}:*", *_CONTROL, _EVENTS),
    ),
    "flower": Role(
        f"{_ALL} {_CELERY}",
        ("%R~{prefix}", *_CELERYS),
        (*_CONTROL, _EVENTS),
    ),
}


#: Nobody can be the default user. But it keeps its rights: Redis is that user while it reads
#: its append-only file, and would leave out transactions that this user may not run.
_DEFAULT: Final = "user default off resetpass ~* &* +@all"


class User(NamedTuple):
    """A user of Redis, and the kind of process that it is for."""

    role: str
    name: str
    password: str
    #: the number of the database in its address
    db: int = 0


def acl_file(prefix: str, users: Iterable[User]) -> str:
    """The lines of an ACL file, with hashed passwords. Nobody else gets in."""
    lines = [_DEFAULT, *(_line(prefix, user) for user in users)]
    return "".join(f"{line}\n" for line in lines)


def _line(prefix: str, user: User) -> str:
    role = ROLES[user.role]
    rules = [one.format(prefix=prefix, db=user.db) for one in (*role.keys, *role.channels)]
    words = dict.fromkeys(role.commands.split())
    commands = [word if word.startswith("-") else f"+{word}" for word in words]
    password = hashlib.sha256(user.password.encode()).hexdigest()
    return " ".join(["user", user.name, "reset", "on", f"#{password}", *rules, *commands])
