"""A hundred readers disconnect in the middle of a frame and never return."""

import random
from concurrent.futures import ThreadPoolExecutor

import scripted
from local.programs import Web, Worker
from scripted import done, finish, hold, long, script, usage
from tests.client import Client, Disconnected, proof
from tests.rig import Rig, eventually

ANSWERS = 100


def test_answers_are_written_to_their_end_after_every_reader_has_left(
    rig: Rig, web: Web, other_web: Web, client: Client, worker: Worker
) -> None:
    tag = "no reader returns"
    questions = [
        script(
            long(720, rate=180, chunk=(3, 9), seed=n),
            hold("all have left"),
            long(720, rate=180, chunk=(3, 9), seed=ANSWERS + n),
            finish(),
            usage(),
            done(),
            tag=tag,
        )
        for n in range(ANSWERS)
    ]

    def ask_and_go(question: str) -> tuple[str, bool]:
        """Read a random number of bytes, fewer than there are; True if that was before the end."""
        answer = client.ask(question)
        reading = client.read(answer, other_web.url)
        try:
            with reading.open() as connection:
                for event in connection.events(cut_after=random.randrange(700)):
                    reading.take(event)
        except Disconnected:
            return answer, reading.end is None
        return answer, False

    with ThreadPoolExecutor(ANSWERS) as pool:
        asked = list(pool.map(ask_and_go, questions))

    assert all(cut for _, cut in asked)
    rig.scripted.release("all have left")
    eventually(lambda: not _open(rig), 60)
    for question, (answer, _) in zip(questions, asked, strict=True):
        text = scripted.expected(question).text
        message = client.message(answer)
        assert (message["status"], message["text"]) == ("DONE", text)
        assert (message["length"], message["sha256"]) == proof(text)
    records = rig.scripted.wait_requests(ANSWERS, contains=f'"tag":"{tag}"', ended=True)
    assert len(records) == ANSWERS
    assert {record.ended for record in records} == {"whole"}


def _open(rig: Rig) -> int:
    found = "SELECT count(*) FROM messages WHERE status IN ('SENDING', 'STREAMING')"
    return int(rig.rows(found)[0][0])
