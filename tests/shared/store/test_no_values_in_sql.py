"""No statement is put together from values: the rule that stands for bandit's B608 in the store."""

import ast
import re
from pathlib import Path
from typing import Final

from shared import store

_STATEMENT: Final = re.compile(
    r"select\s(.*\s)?from\s|insert\s+into\s|delete\s+from\s|update\s.*\sset\s|with\s.*\sas\s",
    re.I | re.S,
)
#: What is no constant, and why it is no value: SQL that a caller of the same file wrote.
_WRITTEN_THERE: Final = {
    "access.py": {"conversation", "user"},
    "accounts.py": {"change", "condition"},
    "client_requests.py": {"row"},
    "clock.py": {"begun", "deadline"},
    "conversations.py": {"columns"},
    "database.py": {"', '.join((column.name for column in table.columns))", "table.name"},
    "messages.py": {"', '.join((f'm.{name}' for name in _PLAIN_FIELDS))"},
    "part_sql.py": {"body", "chosen"},
    "tape_sql.py": {"created_at", "kind", "message", "rows"},
    "token_use.py": {"kind", "table", "user"},
}


def _is_constant(node: ast.expr) -> bool:
    """Whether it is a literal, a constant of a module, or a call that is given only such."""
    match node:
        case ast.Constant() | ast.Lambda():
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.isupper()
        case ast.Call(args=given, keywords=named):
            return all(map(_is_constant, [*given, *(one.value for one in named)]))
        case ast.JoinedStr(values=parts):
            return all(_is_constant(_inner(part)) for part in parts)
    return False


def _inner(part: ast.expr) -> ast.expr:
    return part.value if isinstance(part, ast.FormattedValue) else part


def _odd(source: str) -> set[str]:
    """What the statements of a module have in them that is no constant."""
    odd = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            inner = [_inner(part) for part in node.values]
            text = "".join(str(getattr(one, "value", "x")) for one in inner)
            if _STATEMENT.search(text):
                odd |= {ast.unparse(one) for one in inner if not _is_constant(one)}
    return odd


def test_a_statement_has_constants_in_it_and_every_value_is_bound() -> None:
    assert _odd("f'DELETE FROM messages WHERE id = {given}'") == {"given"}
    rooms = Path(store.__file__).parent.glob("*.py")
    assert {room.name: odd for room in rooms if (odd := _odd(room.read_text()))} == _WRITTEN_THERE
