"""The lists in the documents are the lists in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

from drill.faults import KINDS
from local.processes import ROOT
from shared import errors
from shared.errors import MESSAGE_ERRORS, OutliveError
from shared.settings import Settings
from web import errors as http
from worker.provider import refusals

Row = list[str]


def _table(document: str, first: str) -> list[Row]:
    """The rows of the table whose head begins with this cell; cells without backticks."""
    lines = iter((ROOT / "docs" / document).read_text().split("\n"))
    for line in lines:
        if line.startswith(f"| {first} |"):
            next(lines)
            break
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    assert rows, f"no table {first!r} in {document}"
    return rows


# --- errors.md -----------------------------------------------------------------------------------


def test_every_error_of_an_answer_is_explained_with_its_sentence() -> None:
    written = {code: sentence for code, sentence, *_ in _table("errors.md", "code")}

    assert written == {code: sentence for code, (sentence, _) in MESSAGE_ERRORS.items()}


def test_what_cannot_be_retried_says_so() -> None:
    advice = {code: helps for code, _, _, helps in _table("errors.md", "code")}

    for code, (_, retryable) in MESSAGE_ERRORS.items():
        assert retryable == ("Retry alone does not help" not in advice[code])


def test_every_reason_of_a_rejection_is_explained() -> None:
    written = {sentence for sentence, *_ in _table("errors.md", "a person reads")}

    assert written == {
        sentence.format(model="…", option="…") for sentence in refusals.SENTENCES.values()
    }


def test_every_error_of_a_request_is_explained_with_its_status() -> None:
    written = {(int(status), code) for status, code, *_ in _table("errors.md", "status")}

    assert written == set(_refusals())


def _refusals() -> Iterator[tuple[int, str]]:
    """(status, code) of everything that a request can be refused with."""
    for status, (code, _) in http.CODES.items():
        yield status, code
    for file in [*(ROOT / "shared").rglob("*.py"), *(ROOT / "web").rglob("*.py")]:
        yield from _refused_in(ast.parse(file.read_text()))


def _refused_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            arguments = node.exc.args if isinstance(node.exc, ast.Call) else []
            kind = getattr(errors, _name(raised), None) or getattr(http, _name(raised), None)
            if kind is not None and _reaches_http(kind):
                codes = _codes(arguments[1], tree) if len(arguments) > 1 else [kind.code]
                for code in codes:
                    yield _status(kind), code
        elif isinstance(node, ast.Call) and _name(node.func) == "problem":
            status, name = node.args[:2]
            if isinstance(status, ast.Constant) and isinstance(name, ast.Constant):
                yield int(str(status.value)), str(name.value)


def _reaches_http(kind: type[Exception]) -> TypeGuard[type[OutliveError]]:
    """All of ours but those that are caught before: Redis being away is no error for anybody."""
    inside = (errors.RedisDown, errors.GenerationFailed)
    return issubclass(kind, OutliveError) and kind not in inside


def _status(kind: type[OutliveError]) -> int:
    return next(http._STATUS[base] for base in kind.__mro__ if base in http._STATUS)


def _codes(code: ast.expr, tree: ast.Module) -> list[str]:
    """A code, or those that a function makes of the names that it is called with."""
    if isinstance(code, ast.Constant):
        return _texts(code)
    makers = [
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and code in ast.walk(function)
    ]
    return [
        text
        for file in (ROOT / "web").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and _name(call.func) in makers
        for text in _texts(code, str(getattr(call.args[0], "value", "")))
    ]


def _name(node: ast.expr) -> str:
    return str(getattr(node, "id", getattr(node, "attr", "")))


def _texts(node: ast.expr, blank: str = "") -> list[str]:
    """The text of a constant or an f-string, with `blank` in its holes; none for None."""
    if isinstance(node, ast.JoinedStr):
        parts = (p.value if isinstance(p, ast.Constant) else blank for p in node.values)
        return ["".join(map(str, parts))]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


# --- operations.md -------------------------------------------------------------------------------


def test_every_setting_is_in_the_table_with_its_default() -> None:
    written = {name: default for name, default, _ in _table("operations.md", "variable")}

    fields = Settings.model_fields
    in_code = {
        str(field.validation_alias or f"OUTLIVE_{name.upper()}"): _shown(name, field.default)
        for name, field in fields.items()
    }
    assert written == in_code


def test_every_setting_that_a_person_may_change_is_in_the_example() -> None:
    ours = {"OUTLIVE_BOOT", "OUTLIVE_READY_FILE"}  # a supervisor's, not a person's
    table = {name: default for name, default, _ in _table("operations.md", "variable")}

    example = (ROOT / ".env.example").read_text()
    lines = re.findall(r"^# ([A-Z_]+)=(\S*)", example, re.MULTILINE)

    assert {name for name, _ in lines} == set(table) - ours
    for name, shown in lines:
        assert not name.startswith("OUTLIVE_") or shown == table[name]


def _shown(name: str, default: object) -> str:
    if name == "boot":
        return "a new one"
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str("" if default is None else default)


def test_every_line_of_the_procfile_is_explained() -> None:
    written = {name for name, *_ in _table("operations.md", "line")}

    lines = (ROOT / "Procfile").read_text().split("\n")
    assert written == {line.partition(":")[0] for line in lines if line}


DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", document.read_text())

    missing = [
        link for link in links if "://" not in link and not (document.parent / link).exists()
    ]

    assert missing == []


# --- reliability.md ------------------------------------------------------------------------------


def test_every_failure_has_a_proof_and_every_proof_is_told() -> None:
    told = {
        int(row): set(re.findall(r"`?([^`,]+)`?", proofs.replace(" ", "")))
        for row, *_, proofs in _table("reliability.md", "row")
    }
    marked: dict[int, set[str]] = {}
    for name, row in _failures():
        marked.setdefault(row, set()).add(name)

    rows = [int(row) for row, *_ in _table("reliability.md", "row")]
    assert rows == list(range(1, len(rows) + 1))
    assert all(told.values())
    tests = {row: {name for name in names if "drill:" not in name} for row, names in told.items()}
    assert tests == marked
    faults = {name.removeprefix("drill:") for names in told.values() for name in names} - {
        name for names in tests.values() for name in names
    }
    assert faults == set(KINDS)


def test_every_fault_of_the_drill_is_explained() -> None:
    written = {name for cell, *_ in _table("drill.md", "fault") for name in cell.split("` · `")}

    assert written == set(KINDS)


def _failures() -> Iterator[tuple[str, int]]:
    """(test, row) of every mark."""
    for file in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            for mark in getattr(node, "decorator_list", []):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.failure":
                    for row in mark.args:
                        yield str(getattr(node, "name", "")), ast.literal_eval(row)
