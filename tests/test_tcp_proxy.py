"""One answer from end to end: asked, written, read, proven."""

import scripted
from local.programs import Worker
from tests.client import Client, proof


def test_an_answer_is_read_while_it_is_written(client: Client, worker: Worker) -> None:
    question = "Tell me something long."

    answer = client.ask(question)
    reading = client.read(answer).to_end()

    text = scripted.expected(question).text
    assert text == reading.text
    assert reading.proven
    assert reading.end is not None
    assert reading.end["status"] == "DONE"
    message = client.message(answer)
    assert (text, *proof(text)) == (message["text"], message["length"], message["sha256"])
