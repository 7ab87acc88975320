"""Whatever a provider sends, every answer ends, honestly, with all that was good of it.

The full ten thousand: `python -m tests.mutated 10000`. In a run of all tests they are read as the
worker reads them (test_mutations.py), and a thousand of them go through the whole service.
"""

import random

import pytest

from local.programs import Web
from tests import mutated
from tests.rig import Rig, killing
from tests.stories import start_worker

STREAMS = 1_000


@pytest.mark.failure(22)
def test_mutated_streams_leave_no_answer_stuck_or_falsely_done(
    rig: Rig, no_workers: None, web: Web
) -> None:
    first = random.randrange(10**9)

    with killing(start_worker(rig, **mutated.IMPATIENT).wait()):
        found = mutated.run(rig, web.url, range(first, first + STREAMS))

    print(found)
    assert found.good, f"{found}\nagain: python -m tests.mutated {STREAMS} {first}"
    assert found.ends.total() == STREAMS
    assert found.read >= STREAMS / mutated.READ_ONE_IN
