"""The examples of the Python client's README run as they stand there."""

import re
from typing import Any

import pytest

from local.processes import ROOT
from local.programs import Web, Worker
from outlive_client import Outlive
from tests.client import new_id

README = (ROOT / "clients" / "python" / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_runs(number: int, web: Web, worker: Worker) -> None:
    code = EXAMPLES[number].replace("http://127.0.0.1:8000", web.url)
    with Outlive(web.url) as outlive:
        names: dict[str, Any] = {
            "Outlive": Outlive,
            "outlive": outlive,
            "url": web.url,
            "message_id": new_id(),
            "fresh_jwt": new_id,
            "share_token": new_id(),
        }
        exec(compile(code, f"example {number}", "exec"), names)
