"""The languages of the pages, and which of them a request gets.

English sentences are the keys, in templates and scripts, and need no catalogue. Another language is
one file, `static/words/<code>.json`: the templates are filled from it here, and the browser reads
the same file (`static/t.js`). What a catalogue lacks is shown in English. See docs/translating.md.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from markupsafe import Markup, escape

#: The cookie with a person's own choice.
COOKIE: Final = "outlive_language"

_FOLDER: Final = Path(__file__).parent / "static" / "words"
_HOLE: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Language:
    """What a page says in one language."""

    #: as in `<html lang>`
    code: str
    #: as its readers write it
    name: str
    direction: Literal["ltr", "rtl"] = "ltr"
    #: English sentence -> its own; by plural form where the sentence has a count
    words: Mapping[str, Any] = field(default_factory=dict)
    #: code of an error -> sentence
    errors: Mapping[str, str] = field(default_factory=dict)

    def t(self, sentence: str, **values: str) -> Markup:
        """A sentence as HTML, with `{name}` replaced by `values["name"]`: text, or HTML if it is
        Markup. From right to left each value keeps its own direction (Unicode's isolates)."""
        first, last = ("\u2068", "\u2069") if self.direction == "rtl" else ("", "")
        said = escape(self.words.get(sentence, sentence))
        filled = _HOLE.sub(lambda hole: f"{first}{escape(values[hole[1]])}{last}", said)
        return Markup(filled)  # noqa: S704 - everything in it is escaped

    def why(self, code: str, sentence: str) -> str:
        """What went wrong: the sentence for a code, `sentence` is the English one."""
        return self.errors.get(code, sentence).replace("{message}", sentence)


def _read(path: Path) -> Language:
    return Language(code=path.stem, **json.loads(path.read_text("utf-8")))


ENGLISH: Final = Language("en", "English")
#: All languages by code.
LANGUAGES: Final[Mapping[str, Language]] = {
    one.code: one for one in (ENGLISH, *map(_read, sorted(_FOLDER.glob("*.json"))))
}


def choose(chosen: str | None, accepted: Iterable[tuple[str, float]], usual: str) -> Language:
    """The person's choice, else the first language that the browser asks for and we have, else
    the operator's. `accepted`: Accept-Language as (tag, quality), the best first."""
    for tag in (chosen or "", *(tag for tag, quality in accepted if quality > 0), usual):
        found = LANGUAGES.get(re.split("[-_]", tag)[0].lower())
        if found is not None:
            return found
    return ENGLISH
