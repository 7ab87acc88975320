"""What a story that needs somebody else's program begins with."""

import os

import pytest

from local import foreign


def need(name: str) -> str:
    """The path of a program (see local/foreign.py). Without it: a failure in CI, else a skip."""
    program = foreign.PROGRAMS[name]
    found = program.find()
    if found is not None:
        return found
    sentence = f"{name} is missing (Debian: apt install {program.package})"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
