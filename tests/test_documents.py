"""The lists in the documents are the lists in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from drill.faults import FAULT_KINDS
from local.check import CHECKS
from local.processes import ROOT
from shared.errors import MESSAGE_ERRORS, REQUEST_ERRORS
from shared.settings import Settings
from worker.provider import refusals

Row = list[str]

ROOMS = ("shared", "worker", "web", "cli", "doctor", "local", "drill", "scripted", "tests")


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


def test_advice_says_where_a_retry_does_not_help() -> None:
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

    assert written == {(error.status, code) for code, error in REQUEST_ERRORS.items()}


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


DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", document.read_text())

    missing = [
        link for link in links if "://" not in link and not (document.parent / link).exists()
    ]

    assert missing == []


def test_architecture_names_files_that_exist() -> None:
    """A file may be named by the end of its path: `store/owning.py`."""
    named = re.findall(r"`([\w/]+\.(?:py|lua))`", (ROOT / "ARCHITECTURE.md").read_text())
    there = [f"/{file.relative_to(ROOT)}" for room in ROOMS for file in (ROOT / room).rglob("*.*")]

    assert [name for name in named if not any(path.endswith(f"/{name}") for path in there)] == []


# --- reliability.md ------------------------------------------------------------------------------


def test_every_failure_has_a_proof_and_every_proof_is_listed() -> None:
    listed = {
        int(row): set(re.findall(r"`?([^`,]+)`?", proofs.replace(" ", "")))
        for row, *_, proofs in _table("reliability.md", "row")
    }
    marked: dict[int, set[str]] = {}
    for name, row in _failures():
        marked.setdefault(row, set()).add(name)

    rows = [int(row) for row, *_ in _table("reliability.md", "row")]
    assert rows == list(range(1, len(rows) + 1))
    assert all(listed.values())
    tests = {row: {name for name in names if "drill:" not in name} for row, names in listed.items()}
    assert tests == marked
    faults = {name.removeprefix("drill:") for names in listed.values() for name in names} - {
        name for names in tests.values() for name in names
    }
    assert faults == set(FAULT_KINDS)


# --- security.md ---------------------------------------------------------------------------------


def test_every_threat_has_a_defence_and_tests_that_exist() -> None:
    tests = _tests()
    checks = {word for check in CHECKS for word in check}
    rows = _table("security.md", "threat")

    assert len(rows) > 20
    for threat, defence, proofs in rows:
        assert defence, threat
        named = re.findall(r"`?([^`,]+)`?", proofs.replace(" ", ""))
        assert named, threat
        for name in named:
            assert name in tests or name.removeprefix("check:") in checks, (threat, name)


def test_every_feature_of_a_client_has_tests_that_exist() -> None:
    document = (ROOT / "docs" / "clients.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", document))

    assert len(named) > 80
    assert named - _tests() == set()


def _tests() -> set[str]:
    """The names of all tests."""
    return {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }


def test_every_fault_of_the_drill_is_explained() -> None:
    written = {name for cell, *_ in _table("drill.md", "fault") for name in cell.split("` · `")}

    assert written == set(FAULT_KINDS)


def _failures() -> Iterator[tuple[str, int]]:
    """(test, row) of every mark."""
    for file in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            for mark in getattr(node, "decorator_list", []):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.failure":
                    for row in mark.args:
                        yield str(getattr(node, "name", "")), ast.literal_eval(row)
