"""Long answers on links that are slow, or that are cut again and again."""

from contextlib import suppress

import pytest

from local.programs import Worker
from scripted import done, finish, say, script
from tests.client import Client, Disconnected, Reading
from tests.cutting import CutPoint, CuttingProxy, Manner

CHARACTERS = 65_000
#: Bytes a second of a slow link.
RATE = 8_000


@pytest.fixture(scope="module")
def answers() -> dict[str, str]:
    """Answers that have ended, by what they are made of: asked for once."""
    return {}


def _ended(client: Client, answers: dict[str, str], piece: str) -> tuple[str, str]:
    """The id and the text of an answer of CHARACTERS characters."""
    text = (piece * CHARACTERS)[:CHARACTERS]
    if piece not in answers:
        answers[piece] = client.ask(script(say(text, chunk=5_000), finish(), done()))
        client.ended(answers[piece])
    return answers[piece], text


@pytest.mark.failure(53)
@pytest.mark.parametrize("manner", ["reset", "close"])
@pytest.mark.parametrize("piece", ["你好世界", "😀", "word \n"])
@pytest.mark.parametrize("size", [300_000, 40_000, 17_000])
def test_a_long_answer_arrives_whole_over_a_link_that_is_cut_repeatedly(
    client: Client, worker: Worker, answers: dict[str, str], size: int, piece: str, manner: Manner
) -> None:
    """A frame has at most 16 KiB, so each connection gets its reader on."""
    answer, text = _ended(client, answers, piece)
    with CuttingProxy(client.url, [CutPoint(b"HTTP/", 1, size)] * 1_000, manner) as link:
        reading = Reading(answer, [link.url])
        while reading.end is None:
            before = len(reading.text)
            with suppress(Disconnected, OSError), reading.open() as connection:
                for event in connection.events():
                    reading.take(event)
            assert reading.end is not None or len(reading.text) > before

    assert reading.text == text
    assert reading.proven
    assert link.cuts == reading.connections - 1 == link.passed // size


@pytest.mark.failure(52)
@pytest.mark.parametrize("piece", ["你好世界", "😀", "word \n"])
def test_the_first_text_of_a_late_reader_is_small_enough_for_a_slow_link(
    client: Client, worker: Worker, answers: dict[str, str], piece: str
) -> None:
    """The first text is in what the link carries in less than 3 s."""
    answer, text = _ended(client, answers, piece)
    with CuttingProxy(client.url, rate=RATE) as link:
        reading = Reading(answer, [link.url])
        with reading.open() as connection:
            reading.take(next(connection.events()))

    assert link.passed < 3 * RATE
    assert text.startswith(reading.text)
