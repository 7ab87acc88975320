"""The content of a question, as clients send it: text, media, and results of tools.

The models are those of OpenAI's API, so faces pass on what they get. `written` makes a body of
them, and the files that are stored with it. What a body cannot hold as it came is refused by
`written`, as no schema can say it: data that would not come out of it byte for byte (base64 has one
exact form here), and media types that the page could not show safely, or that we do not know.

Nothing here is ever fetched: an https address goes to the provider as it is.
"""

import base64
import re
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field

from shared import media
from shared.body import Body
from shared.errors import Invalid
from shared.media import StoredFile
from shared.parts import PartKind
from shared.tool_calls import ToolResult, write_result
from web.json_types import RequestBody, Text

#: Code points of a text, and bytes of a file. The body of a request has 4 MiB, of which base64
#: leaves three quarters.
CONTENT_CHARS: Final = 1_000_000
FILE_BYTES: Final = 2_500_000
#: Parts of a question, results of tools in one, and characters of an address, an id or a name.
PARTS: Final = 64
RESULTS: Final = 128
ADDRESS_CHARS: Final = 4_096
NAME_CHARS: Final = 255

#: Media types of images: those that a browser shows and that cannot hold a script.
IMAGES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
#: Media types of other files.
DOCUMENTS: Final = ("application/pdf", "text/plain")
AUDIO: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}
#: An https address.
_HTTPS: Final = re.compile(rf"https://[!-~]{{1,{ADDRESS_CHARS}}}")


Id = Annotated[Text, Field(min_length=1, max_length=NAME_CHARS)]


class TextPart(RequestBody):
    """Text."""

    type: Literal["text"]
    text: Annotated[Text, Field(min_length=1, max_length=CONTENT_CHARS)]


class ImageAddress(RequestBody):
    """An https address, or a data URL of a PNG, JPEG, GIF or WebP image."""

    url: Annotated[Text, Field(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(RequestBody):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageAddress


class AudioData(RequestBody):
    """Sound in base64."""

    data: Annotated[Text, Field(min_length=1)]
    format: Literal["wav", "mp3"]


class AudioPart(RequestBody):
    """Sound."""

    type: Literal["input_audio"]
    input_audio: AudioData


class Document(RequestBody):
    """A file: the provider's id of it, or a data URL (PDF or plain text) and its name."""

    file_id: Id | None = None
    file_data: Annotated[Text, Field(min_length=1)] | None = None
    filename: Id | None = None


class FilePart(RequestBody):
    """A file."""

    type: Literal["file"]
    file: Document


Part = Annotated[TextPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]


class ToolResultPart(RequestBody):
    """What a tool call of the answer above returned."""

    tool_call_id: Id
    content: Annotated[Text, Field(max_length=CONTENT_CHARS)]


class Content(NamedTuple):
    """A question's body, and the files that are stored with it."""

    body: Body
    files: list[StoredFile]


def written(
    user_id: uuid.UUID, text: str, parts: Sequence[Part], results: Sequence[ToolResultPart]
) -> Content:
    """The results, then the text, then the parts, as this user's question. Raises Invalid."""
    content = Content(Body(), [])
    for result in results:
        write_result(content.body, ToolResult(result.tool_call_id, result.content))
    content.body.write(PartKind.TEXT, text, fresh=True)
    for part in parts:
        _write(content, user_id, part)
    return content


def _write(content: Content, user_id: uuid.UUID, part: Part) -> None:
    match part:
        case TextPart():
            content.body.write(PartKind.TEXT, part.text, fresh=True)
        case ImagePart():
            _write_image(content, user_id, part.image_url)
        case AudioPart():
            sound = part.input_audio
            data = Data(AUDIO[sound.format], _decoded(sound.data))
            _store(content, user_id, PartKind.AUDIO, data, format=sound.format)
        case FilePart():
            _write_document(content, user_id, part.file)


def _write_image(content: Content, user_id: uuid.UUID, image: ImageAddress) -> None:
    meta = {"detail": image.detail} if image.detail else {}
    if image.url.startswith("data:"):
        _store(content, user_id, PartKind.IMAGE, _data(image.url, IMAGES), **meta)
    elif _HTTPS.fullmatch(image.url):
        media.write_address(content.body, PartKind.IMAGE, image.url, **meta)
    else:
        raise _invalid("The url of an image is an https address or a data URL.")


def _write_document(content: Content, user_id: uuid.UUID, document: Document) -> None:
    match document:
        case Document(file_id=str(file_id), file_data=None, filename=None):
            media.write_address(content.body, PartKind.FILE, file_id)
        case Document(file_id=None, file_data=str(address), filename=str(filename)):
            data = _data(address, DOCUMENTS)
            _store(content, user_id, PartKind.FILE, data, filename=filename)
        case _:
            raise _invalid("A file is either a file_id, or file_data and a filename.")


class Data(NamedTuple):
    """What a data URL holds."""

    type: str
    data: bytes


def _data(address: str, types: Sequence[str]) -> Data:
    """The data of a data URL of one of these types. Raises Invalid."""
    head, _, encoded = address.partition(",")
    for media_type in types:
        if head == f"data:{media_type};base64":
            return Data(media_type, _decoded(encoded))
    raise _invalid(f"A data URL here begins with data:<type>;base64, of {', '.join(types)}.")


def _decoded(encoded: str) -> bytes:
    """The data that this is the base64 of. Raises Invalid."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:  # no base64, or no ASCII
        data = b""
    # b64encode makes the one form in which it is sent on; others differ in their last bits.
    if not data or base64.b64encode(data).decode() != encoded:
        raise _invalid("Data is base64 (RFC 4648, section 4), with its padding.")
    if len(data) > FILE_BYTES:
        raise _invalid(f"A file has at most {FILE_BYTES} bytes.")
    return data


def _store(content: Content, user_id: uuid.UUID, kind: PartKind, found: Data, **meta: Any) -> None:
    file = media.file_of(user_id, found.type, found.data)
    content.files.append(file)
    media.write_file(content.body, kind, file, **meta)


def _invalid(sentence: str) -> Invalid:
    return Invalid(sentence, "invalid_content")
