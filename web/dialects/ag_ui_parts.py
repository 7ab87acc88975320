"""Content parts of AG-UI as those of OpenAI's API, which `web/questions.py` takes. Pure."""

import re
import uuid
from typing import Any, Final, Literal

from shared import media
from shared.errors import Invalid
from shared.text import normalise
from web import questions
from web.dialects.ag_ui_input import (
    AddressSource,
    BinaryPart,
    DataSource,
    InputPart,
    MediaPart,
    Source,
)

#: The address of a file of a question, as this service gives it.
_OWN_ADDRESS: Final = re.compile(
    re.escape(media.ADDRESS) + "([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)


def file_id(part: InputPart) -> uuid.UUID | None:
    """The stored file that a part names by our address; None if it is something else."""
    if not isinstance(part, MediaPart) or not isinstance(part.source, AddressSource):
        return None
    found = _OWN_ADDRESS.fullmatch(part.source.value)
    return uuid.UUID(found[1]) if found else None


def question_part(where: str, part: InputPart) -> questions.Part:
    """A part as `web/questions.py` takes it. Raises Invalid for what a question cannot hold."""
    match part:
        case MediaPart(type="image", source=source):
            return _image(_address(source), own_metadata(part.metadata).get("detail"))
        case MediaPart(type="audio", source=DataSource() as source):
            return _audio(where, source.mime_type, source.value)
        case MediaPart(type="document", source=DataSource() as source):
            return _document(_address(source), own_metadata(part.metadata).get("filename"))
        case BinaryPart():
            return _binary(where, part)
        case MediaPart(type="video"):
            raise refused(where, "videos are not passed on")
    raise refused(where, f"of {part.type}, only data can be passed on, not an address")


def _binary(where: str, part: BinaryPart) -> questions.Part:
    kind = part.mime_type.partition("/")[0]
    match part:
        case BinaryPart(id=None, url=str(address), data=None) if kind == "image":
            return _image(address)
        case BinaryPart(id=None, url=None, data=str(data)):
            if kind == "image":
                return _image(f"data:{part.mime_type};base64,{data}")
            if kind == "audio":
                return _audio(where, part.mime_type, data)
            return _document(f"data:{part.mime_type};base64,{data}", part.filename)
        case BinaryPart(id=str(file_id), url=None, data=None):
            return questions.FilePart(type="file", file=questions.Document(file_id=file_id))
    raise refused(where, "it needs one of id, data, or (of an image) url")


def _address(source: Source) -> str:
    if isinstance(source, AddressSource):
        return source.value
    return f"data:{source.mime_type};base64,{source.value}"


def _image(address: str, detail: Any = None) -> questions.Part:
    image = questions.ImageAddress(url=address, detail=detail)
    return questions.ImagePart(type="image_url", image_url=image)


def _audio(where: str, media_type: str, data: str) -> questions.Part:
    formats: dict[str, Literal["wav", "mp3"]] = {
        "audio/wav": "wav",
        "audio/x-wav": "wav",
        "audio/mpeg": "mp3",
        "audio/mp3": "mp3",
    }
    if media_type not in formats:
        raise refused(where, "sound is audio/wav or audio/mpeg here")
    sound = questions.AudioData(data=data, format=formats[media_type])
    return questions.AudioPart(type="input_audio", input_audio=sound)


def _document(address: str, filename: str | None) -> questions.Part:
    named = questions.Document(file_data=address, filename=filename or "document")
    return questions.FilePart(type="file", file=named)


def own_metadata(metadata: Any) -> dict[str, str]:
    """What a part's metadata says that goes to the provider: a document's name, an image's
    detail."""
    found = metadata if isinstance(metadata, dict) else {}
    name, detail = found.get("filename"), found.get("detail")
    named = {}
    if isinstance(name, str) and 0 < len(name) <= questions.NAME_CHARS:
        named["filename"] = normalise(name)
    if detail in ("auto", "low", "high"):
        named["detail"] = detail
    return named


def refused(where: str, why: str) -> Invalid:
    """The refusal of a field, by name."""
    return Invalid(f"{where}: {why}.", "invalid_content")
