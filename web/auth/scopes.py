"""Which rights the scopes of a credential give."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from shared.scopes import Scope
from web.auth.principal import Right

_RIGHTS: Final = {
    Scope.READ: frozenset({Right.USE, Right.READ_SHARED, Right.READ_OWN}),
    Scope.ASK: frozenset({Right.USE, Right.READ_SHARED, Right.READ_OWN, Right.WRITE_OWN}),
    Scope.ADMIN: frozenset({Right.USE, Right.OPERATE, Right.WATCH}),
    Scope.ACT_AS: frozenset[Right](),
}
#: What a user may do with what is theirs.
OWN: Final = frozenset({Scope.READ, Scope.ASK})
#: The same and all that an operator may do.
OPERATOR: Final = OWN | {Scope.ADMIN}


@lru_cache(64)
def rights_of(scopes: frozenset[str], *, live: bool) -> frozenset[Right]:
    """The rights of these scopes; names that are none of ours give nothing.

    `live`: OUTLIVE_LIVE, without which there is no dashboard.
    """
    found = frozenset[Right]().union(*(_RIGHTS[one] for one in Scope if one in scopes))
    return found if live else found - {Right.WATCH}


def scopes_for(right: Right) -> Sequence[Scope]:
    """The scopes that give a right, the smallest first."""
    return [scope for scope in Scope if right in _RIGHTS[scope]]
