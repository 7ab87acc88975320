"""Following one message: readers that share a body and its frames, or have a body each."""

import uuid

from bench.timing import side_by_side
from shared.body import Body, Delta
from web.faces.native import FACE
from web.following.message_topic import MessageTopic

READERS = 200
DELTAS = 500
PIECE = "token "


def main() -> None:
    """200 readers of 500 deltas: encoded once a position, or once a reader."""
    side_by_side(
        {"shared body and frames (web/following/message_topic.py)": _shared, "each its own": _own},
        "frame",
    )


def _deltas() -> list[Delta]:
    return [Delta(number * len(PIECE), 0, "text", PIECE) for number in range(DELTAS)]


def _shared() -> int:
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    positions = [0] * READERS
    for delta in _deltas():
        assert topic.receive([delta])
        for reader, position in enumerate(positions):
            _, positions[reader], _ = topic.frames(FACE, position)
    assert positions == [DELTAS * len(PIECE)] * READERS
    return READERS * DELTAS


def _own() -> int:
    bodies = [Body() for _ in range(READERS)]
    for delta in _deltas():
        for body in bodies:
            new = body.append(delta)
            assert new is not None
            FACE.stretch(body, new)
    return READERS * DELTAS
