"""Media in questions, as parts of bodies."""

import uuid

from shared import media
from shared.body import Body
from shared.media import StoredFile, file_bytes, file_id, file_ids, file_of
from shared.parts import PartKind

ME, OTHER = uuid.uuid4(), uuid.uuid4()


def test_a_file_has_one_id_for_each_owner_type_and_content() -> None:
    file = file_of(ME, "image/png", b"1")

    assert file == file_of(ME, "image/png", b"1") == StoredFile(file.id, "image/png", b"1")
    others = {
        file_of(OTHER, "image/png", b"1").id,
        file_of(ME, "image/gif", b"1").id,
        file_of(ME, "image/png", b"2").id,
    }
    assert len(others | {file.id}) == 4


def test_a_part_of_a_stored_file_says_where_it_is_read() -> None:
    file, body = file_of(ME, "image/png", b"123"), Body()
    media.write_file(body, PartKind.IMAGE, file, detail="low")

    [part] = body.parts
    assert part.text == f"/api/files/{file.id}"
    assert (file_id(part), file_bytes(part)) == (file.id, 3)
    assert part.meta == {"detail": "low", "file": str(file.id), "type": "image/png", "bytes": 3}


def test_what_is_elsewhere_is_no_stored_file() -> None:
    body = Body()
    media.write_address(body, PartKind.IMAGE, "https://example.com/a.png")
    media.write_address(body, PartKind.FILE, "file-7")
    body.write("text", "x", {"file": "no id: of another kind"}, fresh=True)

    assert file_ids(body) == []
    assert [file_bytes(part) for part in body.parts] == [0, 0, 0]
    assert body.text == "x"
