"""The catalogues of the page's languages: each says what the page says, no more and no less."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from markupsafe import Markup

from shared.errors import MESSAGE_ERRORS, REQUEST_ERRORS
from shared.settings import Settings
from web import views
from web.page.languages import ENGLISH, LANGUAGES, Language, choose

PAGE = Path(views.__file__).parent / "page"
#: Clients that other sites load, too: their few sentences are theirs.
CLIENTS = ("outlive.js", "outlive-fetch.js")
#: A page for programmers, in English as the document that it shows.
ENGLISH_ONLY = ("reference.html",)

#: Names that are names in every language.
NAMES = ("Outlive", "Flower", "Markdown", r"Ctrl\+K")

_TEXT = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
#: `t("…"`, and `n(count, "…", "…"`.
_SAID = re.compile(rf"(?<![\w.])t\(\s*({_TEXT})")
_COUNTED = re.compile(rf"(?<![\w.])n\([^\"']*?,\s*({_TEXT}),\s*({_TEXT})")
#: A call without a sentence in it; `hint` and `problem` are sentences of `web/views.py`.
_UNKNOWN = re.compile(r"(?<![\w.])t\((?!\s*[\"'])(?!hint\)|problem\)|sentence\b)[^)]*\)?")
_HOLE = re.compile(r"\{(\w+)\}")
#: Plural forms by language: https://cldr.unicode.org/index/cldr-spec/plural-rules
FORMS = {"ar": {"zero", "one", "two", "few", "many", "other"}}

OTHERS = [language for language in LANGUAGES.values() if language is not ENGLISH]
each = pytest.mark.parametrize("language", OTHERS, ids=lambda one: one.code)


def sources() -> Iterator[Path]:
    """Every file whose words a person reads."""
    yield from (one for one in PAGE.glob("static/*.js") if one.name not in CLIENTS)
    yield from (one for one in PAGE.glob("templates/*.html") if one.name not in ENGLISH_ONLY)


def _text(literal: str) -> str:
    inside = literal[1:-1]
    return str(json.loads(f'"{inside}"' if literal[0] == '"' else json.dumps(inside)))


def said() -> set[str]:
    """Every sentence without a count."""
    found = {_text(one) for path in sources() for one in _SAID.findall(path.read_text("utf-8"))}
    return found | set(views.PROBLEMS.values()) | set(views.HINTS.values())


def counted() -> dict[str, str]:
    """Every sentence for many -> that for one."""
    pairs = [pair for path in sources() for pair in _COUNTED.findall(path.read_text("utf-8"))]
    return {_text(many): _text(one) for one, many in pairs}


def holes(sentence: str) -> set[str]:
    """The names of what is put into a sentence."""
    return set(_HOLE.findall(sentence))


def test_the_page_has_words() -> None:
    assert len(said()) > 150
    assert len(counted()) >= 3
    assert "ar" in LANGUAGES


def test_every_call_names_its_sentence() -> None:
    """Else nothing here knows what has to be translated."""
    unknown = [
        f"{path.name}: {call}"
        for path in sources()
        for call in _UNKNOWN.findall(path.read_text("utf-8"))
        if path.name != "t.js"
    ]
    assert unknown == []


def test_templates_have_no_words_beside_the_catalogue() -> None:
    forgotten = {
        path.name: _bare(path.read_text("utf-8")) for path in PAGE.glob("templates/*.html")
    }
    assert {
        name: words for name, words in forgotten.items() if words and name not in ENGLISH_ONLY
    } == {}


def _bare(template: str) -> list[str]:
    """Words of a template, in its text or in what is read to people, that are not in a `{{ }}`."""
    plain = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|<!--.*?-->", "", template, flags=re.DOTALL)
    plain = re.sub(r"<(kbd|code|strong)\b[^>]*>.*?</\1>", "", plain)
    attributes = re.findall(r"(?:aria-label|title|placeholder|alt)=\"([^\"]*)\"", plain)
    texts = re.split(r"<[^>]*>", plain)
    words = [re.sub("|".join(NAMES), "", one).strip() for one in (*attributes, *texts)]
    return [one for one in words if re.search("[A-Za-z]{2}", one)]


@each
def test_catalogue_has_every_sentence_and_no_other(language: Language) -> None:
    expected = said() | set(counted())
    assert expected - set(language.words) == set(), "say these in its words"
    assert set(language.words) - expected == set(), "the page does not say these any more"
    assert not said() & set(counted()), "one key, two kinds"


@each
def test_catalogue_has_every_error_and_no_other(language: Language) -> None:
    assert set(language.errors) == set(REQUEST_ERRORS) | set(MESSAGE_ERRORS)


@each
def test_placeholders_are_those_of_the_english_sentence(language: Language) -> None:
    wrong = {key: holes(language.words[key]) ^ holes(key) for key in said() & set(language.words)}
    assert {key: names for key, names in wrong.items() if names} == {}
    assert all(holes(sentence) <= {"message"} for sentence in language.errors.values())


@each
def test_counts_have_every_plural_form(language: Language) -> None:
    for many, one in counted().items():
        forms: dict[str, str] = language.words[many]
        assert set(forms) == FORMS[language.code], many
        assert holes(one) - {"n"} == holes(many) - {"n"}, many
        for name, form in forms.items():
            missing = holes(many) ^ holes(form)
            # "one answer" and "two answers" are a word without a number in many languages
            assert missing <= ({"n"} if name in ("zero", "one", "two") else set()), form


@each
def test_nothing_is_empty_or_forgotten_in_english(language: Language) -> None:
    texts: list[Any] = [*language.words.values(), *language.errors.values()]
    flat = [form for one in texts for form in (one.values() if isinstance(one, dict) else [one])]
    assert all(form.strip() == form and form for form in flat)
    same = {key for key, sentence in language.words.items() if key == sentence}
    assert same <= {"JSON", "Markdown", "Ctrl", "Shift", "{device} ({browser})"}


@each
def test_catalogue_is_sorted_and_written_in_one_way(language: Language) -> None:
    """So that two people's changes meet as little as may be."""
    path = PAGE / f"static/words/{language.code}.json"
    read = json.loads(path.read_text("utf-8"))
    whole = {
        name: dict(sorted(part.items())) if isinstance(part, dict) else part
        for name, part in read.items()
    }
    assert path.read_text("utf-8") == json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


def test_settings_name_the_languages_that_there_are() -> None:
    assert set(get_args(Settings.model_fields["language"].annotation)) == set(LANGUAGES)


@pytest.mark.parametrize(
    ("chosen", "accepted", "usual", "code"),
    [
        (None, [("ar-EG", 1.0), ("en", 0.8)], "en", "ar"),
        (None, [("de", 1.0), ("en-GB", 0.8), ("ar", 0.5)], "ar", "en"),
        (None, [("de", 1.0), ("fr", 0.8)], "ar", "ar"),
        (None, [("ar", 0.0)], "en", "en"),
        (None, [], "ar", "ar"),
        (None, [("*", 1.0)], "ar", "ar"),
        ("ar", [("en", 1.0)], "en", "ar"),
        ("en", [("ar", 1.0)], "ar", "en"),
        ("xx", [("ar", 1.0)], "en", "ar"),
        ("../../etc/passwd", [], "en", "en"),
    ],
)
def test_language_is_the_persons_the_browsers_or_the_operators(
    chosen: str | None, accepted: list[tuple[str, float]], usual: str, code: str
) -> None:
    assert choose(chosen, accepted, usual).code == code


def test_sentences_are_escaped_and_values_too_unless_they_are_html() -> None:
    language = Language("xx", "X", words={"Type {word}": "<{word}>"})
    assert language.t("Type {word}", word="<b>") == "&lt;&lt;b&gt;&gt;"
    assert language.t("Type {word}", word=Markup("<b>x</b>")) == "&lt;<b>x</b>&gt;"
    assert language.t("Unknown & new") == "Unknown &amp; new"


def test_values_keep_their_direction_in_a_language_from_right_to_left() -> None:
    language = Language("xx", "X", "rtl", words={"Type {word}": "{word} epyT"})
    assert language.t("Type {word}", word="x") == "\u2068x\u2069 epyT"


def test_errors_are_said_by_code_and_may_quote_the_english_sentence() -> None:
    language = Language("xx", "X", errors={"invalid": "Wrong: {message}"})
    assert language.why("invalid", "limit: too large") == "Wrong: limit: too large"
    assert language.why("unheard_of", "As it was.") == "As it was."
