"""What a provider's refusal means: a status and a text in; a retry, another form or a sentence out.

Pure. One table (refusal_rules.py) for every way in which a request can fail: an HTTP status with a
body, or an error object in a stream of which nothing was shown yet. Providers, gateways and proxies
agree neither on statuses nor on codes. So the text counts first, and the status decides what the
text leaves open.

The text is only searched. Nothing of it is kept, logged or shown, as it may quote the prompt or the
key, except for an error's code where that is one plain word (`error_code`). A person reads the
sentences of SENTENCES, which docs/errors.md lists.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

from worker.provider import refusal_rules as rules

#: Characters of an error that are searched.
TEXT_MAX: Final = 8192
#: A code that is told to clients.
_PLAIN_CODE: Final = re.compile("[a-z][a-z_]{1,47}")


class Feature(Enum):
    """What a request can do without, if the provider does not support it."""

    USAGE = "stream_options"
    STREAM = "stream"
    SYSTEM = "the system turn"


class Classification(NamedTuple):
    """What to do about a refusal. With no field set: give up, for a reason that is not known."""

    #: send the same request again later
    retry: bool = False
    #: send it again without this feature
    without: Feature | None = None
    #: give up, for this reason
    sentence: str | None = None


class Refusal(Exception):
    """The provider does not answer this request; nothing of an answer was shown."""

    def __init__(
        self,
        classification: Classification,
        *,
        status: int | None = None,
        code: str | None = None,
        after: float | None = None,
        in_stream: bool = False,
    ) -> None:
        """`code`: from `error_code`. `after`: seconds that it asked us to wait. `in_stream`: its
        HTTP status was 200."""
        super().__init__(status)
        self.classification = classification
        self.status = status
        self.code = code
        self.after = after
        self.in_stream = in_stream

    @property
    def upstream(self) -> dict[str, Any] | None:
        """Its status and its code, for clients that know the provider's API; None without both."""
        named = {"status": self.status, "code": self.code}
        return {name: value for name, value in named.items() if value is not None} or None


@dataclass(frozen=True, slots=True)
class RequestForm:
    """What of a request a refusal may be about: its model, options, and features in use."""

    model: str = ""
    options: Iterable[str] = ()
    usage: bool = False
    stream: bool = False
    system: bool = False


#: Sentences for a person, by the names of the rules. `{…}`: the model or the option of the request.
SENTENCES: Final = {
    "quota": "The quota at the model's provider is used up.",
    "balance": "The balance at the model's provider is used up.",
    "key": "The model's provider refused the API key.",
    "country": "The model's provider does not serve the country that this server is in.",
    "network": "The model's provider does not accept requests from this server's network address.",
    "blocked": "A web page refused the request, not the model's provider: is a firewall or proxy"
    " in between?",
    "address": "There are no chat completions at the provider's address; is OPENAI_BASE_URL right?",
    "model": "The model's provider does not know the model “{model}”.",
    "unserved": "The model's provider has no place to run the model “{model}” at the moment.",
    "memory": "The model's provider has not enough memory for the model “{model}”.",
    "long": "The conversation is too long for this model.",
    "filter": "The provider's content filter refused the question.",
    "option": "The model's provider does not accept the option “{option}”.",
    "certificate": "The certificate of the model's provider cannot be trusted; SSL_CERT_FILE names"
    " the authorities to trust.",
    "tls": "The provider's address does not speak TLS; should OPENAI_BASE_URL begin with http://?",
}
#: Sentence of a provider_malformed whose body was a web page and not an answer.
WEB_PAGE: Final = (
    "A web page came instead of an answer; is OPENAI_BASE_URL the address of the provider's API?"
)


def classify(status: int, text: str, form: RequestForm, *, html: bool = False) -> Classification:
    """Classify a refused request.

    status  the HTTP status; 0 for an error in a stream that names none
    text    its body or error, of which TEXT_MAX characters are searched
    html    it is a web page, so its text is no answer to the request
    """
    text = text[:TEXT_MAX].lower()
    later = status in (408, 409, 425, 429) or status >= 500
    if html:
        return _classify_page(status, later=later)
    feature = None if later else _unsupported(status, text, form)
    if feature is not None:
        return Classification(without=feature)
    option = _named(form.options, text)
    if option is not None and not later and rules.OUT_OF_RANGE.search(text):
        return _explained("option", form, option)
    name = _matching_rule(status, text, later=later)
    if name is not None:
        return _explained(name, form)
    if later:
        return Classification(retry=True)
    if option is not None:
        return _explained("option", form, option)
    if form.usage and status in rules.BAD_REQUEST and rules.UNKNOWN_FIELD.search(text):
        return Classification(without=Feature.USAGE)
    return _explained(_BY_STATUS[status], form) if status in _BY_STATUS else Classification()


def _named(options: Iterable[str], text: str) -> str | None:
    """The option that the text is about: one that it quotes, or else one that is a word in it.

    A part of a word is none: `stop` is not in "stopped", nor `n` in anything.
    """
    words = rf"(?<![\w-])({'|'.join(map(re.escape, options))})(?![\w-])"
    found = re.search(rf"[\"'`“]{words}[\"'`”]", text) or re.search(words, text)
    return found[1] if found and found[1] else None


#: The meaning of a status whose text matches no rule.
_BY_STATUS: Final = {
    401: "key",
    402: "balance",
    403: "key",
    404: "address",
    405: "address",
    413: "long",
    451: "country",
}


def error_text(body: str) -> str:
    """A body for `classify`: JSON without its escapes, or else the text itself."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


def error_code(body: str) -> str | None:
    """The code (or else the type) of a JSON error, if it is one plain word and quotes nothing."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = found.get("error") if isinstance(found, dict) else None
    for name in ("code", "type"):
        code = error.get(name) if isinstance(error, dict) else None
        if isinstance(code, str) and _PLAIN_CODE.fullmatch(code):
            return code
    return None


def _matching_rule(status: int, text: str, *, later: bool) -> str | None:
    """The name of the first rule that matches."""
    limited = status == 429 and re.search(rules.RATE_LIMIT, text)
    if limited and not rules.PERMANENT.search(text):
        # A limit of tokens a minute may be too small for the request, however long it waits.
        return "long" if "request too large" in text else None
    for rule in rules.RULES:
        if (rule.statuses is None or status in rule.statuses) and rule.words.search(text):
            return rule.name
    if status == 429 and re.search(r"exceeded your current quota|check your (plan|billing)", text):
        return None if "retrydelay" in text or "retry in" in text else "quota"
    if status in (400, 413, 422) and rules.TOO_LONG.search(text):
        return "long"
    return "model" if later and rules.PERMANENT.search(text) else None


def _unsupported(status: int, text: str, form: RequestForm) -> Feature | None:
    """The feature of the request that is not supported, if the text says so."""
    if status not in rules.DENIED | {404, 405, 501}:
        return None
    if form.usage and rules.NO_USAGE.search(text):
        return Feature.USAGE
    if form.stream and rules.NO_STREAM.search(text):
        return Feature.STREAM
    return Feature.SYSTEM if form.system and rules.NO_SYSTEM.search(text) else None


def _classify_page(status: int, *, later: bool) -> Classification:
    if later:
        return Classification(retry=True)
    name = {403: "blocked", 451: "blocked"}.get(status) or _BY_STATUS.get(status)
    return _explained(name, RequestForm())


def _explained(name: str | None, form: RequestForm, option: str = "") -> Classification:
    if name is None:
        return Classification()
    return Classification(sentence=SENTENCES[name].format(model=form.model, option=option))


# --- an error in a stream ------------------------------------------------------------------------

#: Statuses of an error in a stream that may have passed a moment later. A 500 is not among them:
#: the provider had begun to answer, and what failed inside it mostly fails again.
_PASSING: Final = frozenset({408, 409, 425, 429, 502, 503, 504, *range(520, 530)})
_BUSY: Final = re.compile(rf"overloaded|at capacity|try again later|{rules.RATE_LIMIT}")


def classify_in_stream(status: int, text: str, form: RequestForm) -> Classification | None:
    """Classify an error object in a stream; None if nothing is known about it.

    `status`: what the error calls its code; 0 if that is no HTTP status.
    """
    found = classify(status if status in _PASSING else 0, text, form)
    if found.without or found.sentence:
        return found
    if status in _PASSING or (status == 0 and _BUSY.search(text[:TEXT_MAX].lower())):
        return Classification(retry=True)
    return None
