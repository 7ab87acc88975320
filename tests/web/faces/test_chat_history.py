"""A conversation of a hundred turns through chat completions costs what is new, and is one thread.

Its client sends everything with each question, with an image in the first one.
"""

import random
import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from openai import OpenAI

from local.programs import Worker
from scripted import done, finish, say, script
from tests.client import Client, new_id
from tests.rig import Rig, eventually
from tests.web.faces.test_chat_completions import api, user
from tests.web.faces.test_tools import data_url, image, unique_png

__all__ = ["api"]

#: Questions, and as many answers.
EXCHANGES: Final = 50
#: Characters of an answer, and bytes of the image, more or less.
CHARACTERS: Final = 800
BYTES: Final = 30_000
#: Bytes of WAL that an exchange may take. It was 10,500.
WAL_OF_EXCHANGE: Final = 40_000


def question_of(answer: str) -> str:
    return script(say(answer), finish(), done(), tag=new_id())


def wal(rig: Rig) -> int:
    return int(rig.rows("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")[0][0])


@contextmanager
def without_whole_pages(rig: Rig) -> Iterator[None]:
    """Only what changes in a page goes to the WAL, whenever the last checkpoint was."""

    def write(setting: str) -> None:
        with rig.db.alone() as connection:
            connection.exec_driver_sql(f"ALTER SYSTEM SET full_page_writes = {setting}")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        eventually(lambda: rig.rows("SHOW full_page_writes")[0][0] == setting)

    write("off")
    try:
        yield
    finally:
        write("on")


def test_a_hundred_turns_cost_a_hundred_rows_and_are_one_thread(
    rig: Rig, api: OpenAI, client: Client, worker: Worker
) -> None:
    dice = random.Random(17)
    texts = ["".join(dice.choices(string.ascii_letters, k=CHARACTERS)) for _ in range(EXCHANGES)]
    picture = image(data_url(unique_png() + dice.randbytes(BYTES)))
    history: list[Any] = []
    places, written = set(), []
    files = rig.rows("SELECT count(*) AS n FROM files")[0].n
    create = api.chat.completions.with_raw_response.create
    with without_whole_pages(rig):
        for text in texts:
            asked = {"type": "text", "text": question_of(text)}
            history.append(user([asked] if history else [picture, asked]))
            raw = create(model="scripted", messages=history)
            places.add(raw.headers["Outlive-Conversation-Id"])
            history.append(raw.parse().choices[0].message)
            written.append(wal(rig))

    [place] = places
    rows = "SELECT count(*) AS n FROM messages WHERE conversation_id = :c"
    assert rig.rows(rows, c=place)[0].n == 2 * EXCHANGES
    assert rig.rows("SELECT count(*) AS n FROM files")[0].n == files + 1
    # without the first one, which has the image
    half = EXCHANGES // 2
    first, second = written[half] - written[0], written[-1] - written[half]
    print(f"WAL of {half} exchanges: {first} and {second} bytes")
    assert second < 2 * first  # it would be three times as much if the history was written anew
    assert first + second < WAL_OF_EXCHANGE * EXCHANGES
    shown = client.http.get(f"/api/conversations/{place}").json()["messages"]
    assert [one["text"] for one in shown if one["role"] == "assistant"] == texts

    # an edited question, an answer that its user changed, and the same question once more
    edited = [*history[:40], user(question_of("Edited"))]
    changed = [*history[:41], {"role": "assistant", "content": "Mine"}, user(question_of("Yes"))]
    for branch in (edited, changed, history[:-1]):
        raw = create(model="scripted", messages=branch)
        assert raw.headers["Outlive-Conversation-Id"] == place

    assert rig.rows(rows, c=place)[0].n == 2 * EXCHANGES + 2 + 3 + 1
    shown = client.http.get(f"/api/conversations/{place}").json()["messages"]
    siblings = {
        number: len(one["siblings"]) for number, one in enumerate(shown) if len(one["siblings"]) > 1
    }
    # the newest branch is that of the question that was asked once more
    assert siblings == {40: 2, 41: 2, 2 * EXCHANGES - 1: 2}
