"""What a provider's refusal means: a status and words in, what to do and what to tell a person out.

Pure. One table for every way in which a request can fail: an HTTP status with a body, or an error
object in a stream of which nothing was shown yet. Providers, gateways and proxies agree neither on
statuses nor on codes, so the words count first and the status decides about what they leave open.

The words are only looked at. Nothing of them is kept, logged or shown: they may quote the prompt
or the key. What a person reads are the sentences of SENTENCES; docs/errors.md lists them.

Order matters where two rules fit one text. The rules are in the order of what helps more: money and
key first, then what is asked (place, model, length, filter), then the form of the request.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final, NamedTuple

#: Characters of an error that are looked at.
WORDS_MAX: Final = 8192


class Form(Enum):
    """What can be said in another form, once: each is left out of the request."""

    USAGE = "stream_options"
    STREAM = "stream"
    SYSTEM = "the system turn"


class Verdict(NamedTuple):
    """Ask again later (`retry`), ask again without `form`, or tell the person `sentence`.

    None of the three: refused, and nobody knows why.
    """

    retry: bool = False
    form: Form | None = None
    sentence: str | None = None


class Refusal(Exception):
    """The provider does not answer this request; nothing of an answer was shown."""

    def __init__(
        self,
        verdict: Verdict,
        *,
        status: int | None = None,
        after: float | None = None,
        in_stream: bool = False,
    ) -> None:
        """`after`: seconds that it asked to be left alone; `in_stream`: it had said 200 first."""
        super().__init__(status)
        self.verdict = verdict
        self.status = status
        self.after = after
        self.in_stream = in_stream


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the request a refusal may be about."""

    model: str = ""
    options: Iterable[str] = ()
    usage: bool = False
    stream: bool = False
    system: bool = False


#: What a person reads; `{…}` is the model or the option that was asked for.
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
#: The sentence of a provider_malformed whose body was no answer but a web page.
WEB_PAGE: Final = (
    "A web page came instead of an answer; is OPENAI_BASE_URL the address of the provider's API?"
)


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


class Rule(NamedTuple):
    """What words mean. `statuses`: with which (None: with any, also those that mean "later")."""

    name: str
    words: re.Pattern[str]
    statuses: frozenset[int] | None


_BAD: Final = frozenset({0, 400, 422})
_DENIED: Final = _BAD | {401, 403}
_LIMITS: Final = r"rate.?limit|too many requests|per.?(minute|second|hour)|\b[rt]pm\b|concurren"

RULES: Final = (
    Rule(
        "quota",
        _words(
            r"insufficient.{0,3}quota|exceeded_current_quota|"
            r"quota.?(has been |is )?(exhaust|used up|deplet)"
        ),
        None,
    ),
    Rule(
        "balance",
        _words(
            r"insufficient.{0,12}(balance|credit|fund)|"
            r"(not enough|out of|no|negative) (account )?(credit|balance|fund)|payment.?required|"
            r"credit balance|billing_|billing hard limit|arrear|overdue|good standing|"
            r"budget has been exceeded|"
            r"(exceed|reach|over)\w* .{0,40}(monthly|spend|usage limits|included credit|budget)|"
            r"余额|欠费|充值"
        ),
        None,
    ),
    Rule(
        "memory",
        _words(
            r"requires more .{0,20}memory|out of memory|(insufficient|not enough) .{0,20}memory|"
            r"failed to allocate"
        ),
        None,
    ),
    Rule(
        "unserved",
        _words(r"no (available|allowed) (channel|provider|model|deployment)|无可用渠道"),
        None,
    ),
    Rule(
        "country",
        _words(
            r"unsupported_country|"
            r"\b(country|countries|region|territory|location)\b.{0,40}"
            r"(not|n't|un)[ -]?(be )?(support|avail|allow|serv|permit)|"
            r"not (yet )?(available|supported|allowed|offered|permitted) .{0,40}"
            r"\b(country|region|territory|location)\b"
        ),
        _DENIED | {404, 451},
    ),
    Rule(
        "filter",
        _words(
            r"content_?filter|content management policy|responsibleai|content_policy|"
            r"data_inspection_failed|inappropriate content|content exists risk|"
            r"(prompt|input|request|content|message)s? (was|were|is|has been|have been) "
            r"(blocked|flagged|filtered)|"
            r"(flagged|blocked|rejected|refused) .{0,30}(moderation|safety|guardrail|filter)|"
            r"moderation|violat\w+ .{0,60}(polic|guideline|terms)|safety (system|filter|setting)|"
            r"prohibited_content|sensitive (content|word|information)|guardrail_|敏感|不安全"
        ),
        _DENIED | {451},
    ),
    Rule(
        "key",
        _words(
            r"api_key_invalid|invalid_api_key|"
            r"(invalid|incorrect|wrong|expired|missing|malformed|unknown|disabled|revoked|no) "
            r"(or \w+ )?(x-)?(api.?key|(access|bearer|auth\w*) token|credential|authentication)|"
            r"(api.?key|credentials?|access token).{0,60}(not valid|invalid|incorrect|expired|"
            r"missing|required|not found|disabled|revoked|not provided|not exist)|"
            r"invalid_authentication|authentication_?error|unauthori[sz]ed|unauthenticated"
        ),
        _DENIED | {404},
    ),
    Rule(
        "network",
        _words(r"\bip\b.{0,40}(not|un|block|denied|whitelist|allow.?list)|ip_not_"),
        frozenset({401, 403}),
    ),
    Rule(
        "long",
        _words(
            r"context.?(length|window|size|limit)|maximum context|exceed_context|context.too.long|"
            r"input token count|range of input length|max\w* (prompt|input)(.length|.token| is)|"
            r"prompt.{0,3}(is )?.?too.?(long|large)|longer than the (model|context|max)|"
            r"(reduce|shorten) .{0,30}(length|prompt|messages)|too many (input |prompt )?tokens|"
            r"exceed\w* .{0,60}(context|max\w* .{0,40}(token|length))|"
            r"(input|prompt|tokens|messages)\b.{0,60}exceed|request too large for|string_above_max|"
            r"max_model_len|max_(prompt|input)_|上下文|过长|超过.{0,12}长度"
        ),
        None,
    ),
    Rule(
        "model",
        _words(
            r"model_?not_?(found|exist)|deployment_?not_?found|invalid_model|model_not_supported|"
            r"model not (found|exist)|(no such|unknown|unsupported|invalid) model\b|"
            r"\b(model|deployment)s?\b.{0,160}?"
            r"((does|do|did) not exist|doesn't exist|not exist\b|(is |was |be )?not found|"
            r"(is |are )?not available|unavailable|not a valid|is invalid|not loaded|not deployed|"
            r"(been |is )(deprecated|decommissioned|retired)|no access to)|"
            r"\bmodel\W{1,4}[\w./:@-]+\W{1,3}(is )?(not|un)[ -]?(supported|known|recognized)|"
            r"no endpoints found|not a valid model|access to (the )?model|模型不存在"
        ),
        _DENIED | {404, 410},
    ),
    Rule("long", _words(r"too (long|large)|too many (characters|messages)"), frozenset({0, 413})),
)
#: Words that say the same even with a status that means "later".
_NO_USE: Final = re.compile(r"insufficient_quota|exceeded_current_quota|model_?not_?found")

_TOO_LONG: Final = re.compile(r"too long")
_USAGE: Final = re.compile(r"stream_options|include_usage")
_STREAM: Final = re.compile(
    r"verified to stream|"
    r"[\"'`](param|parameter|field|loc)[\"'`]: ?\[?([\"'`]body[\"'`], ?)?[\"'`]stream[\"'`]|"
    r"\bstream(ing|ed)?\b.{0,40}(not|n't|un)[ -]?(be )?(support|allow|avail|enabl|permit|accept)|"
    r"(not|n't|un)[ -]?(yet )?(support|allow|accept|permit|enabl)\w* .{0,30}\bstream(ing|ed)?\b|"
    r"\bnon.?stream(ing)?\b.{0,30}(only|support)|only .{0,30}\bnon.?stream"
)
_SYSTEM: Final = re.compile(
    r"(system|developer).{0,3} ?(role|prompt|message|instruction|turn)s?\b.{0,60}"
    r"(not|n't|un)[ -]?(be )?(support|allow|enabl|accept|permit|avail|valid|recogni|known)|"
    r"(not|n't|un)[ -]?(be )?(support|allow|enabl|accept|permit)\w* .{0,40}"
    r"(system|developer).{0,3} ?(role|prompt|message|instruction)|"
    r"(invalid|unknown|unsupported|unexpected) (message )?role\b.{0,20}(system|developer)|"
    r"\brole\b.{0,12}(system|developer).{0,40}(not|n't|un|invalid)|"
    r"roles? must alternate|must start with (a|the) user|first message must be .{0,12}user"
)
_EXTRA: Final = re.compile(
    r"extra (input|field|propert|parameter|argument|key)|extra_forbidden|additional propert|"
    r"(unknown|unrecogni[sz]ed|unexpected|unsupported|undefined|invalid|unallowed)"
    r"( request| json| body)? (field|parameter|param|argument|key|name|propert|option|keyword|"
    r"input|attribute)|not permitted|unexpected keyword"
)
_AMOUNT: Final = re.compile(r"too (large|big|high|small|low)|must be|at most|at least|between")


def judge(status: int, said: str, asked: Asked, *, html: bool = False) -> Verdict:
    """What a refusal means.

    status  the HTTP status; 0 for an error in a stream that tells none
    said    its body or error as text, at most WORDS_MAX characters of it are looked at
    html    it is a web page: its words are nobody's answer to the request
    """
    said = said[:WORDS_MAX].lower()
    later = status in (408, 409, 425, 429) or status >= 500
    if html:
        return _page(status, later=later)
    form = None if later else _form(status, said, asked)
    if form is not None:
        return Verdict(form=form)
    option = next((name for name in asked.options if name in said), None)
    if option is not None and not later and _AMOUNT.search(said):
        return _told("option", asked, option)
    name = _named(status, said, later=later)
    if name is not None:
        return _told(name, asked)
    if later:
        return Verdict(retry=True)
    if option is not None:
        return _told("option", asked, option)
    if asked.usage and status in _BAD and _EXTRA.search(said):
        return Verdict(form=Form.USAGE)
    return _told(_BY_STATUS[status], asked) if status in _BY_STATUS else Verdict()


#: What a status means whose words say nothing.
_BY_STATUS: Final = {
    401: "key",
    402: "balance",
    403: "key",
    404: "address",
    405: "address",
    413: "long",
    451: "country",
}


def words_of(body: str) -> str:
    """The words of a body: of JSON without its escapes, else the text itself."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


def _named(status: int, said: str, *, later: bool) -> str | None:
    """The first rule that fits."""
    if later and status == 429 and re.search(_LIMITS, said) and not _NO_USE.search(said):
        # A limit of tokens a minute may be too small for the request however long it waits.
        return "long" if "request too large" in said else None
    for rule in RULES:
        if (rule.statuses is None or status in rule.statuses) and rule.words.search(said):
            return rule.name
    if status == 429 and re.search(r"exceeded your current quota|check your (plan|billing)", said):
        return None if "retrydelay" in said or "retry in" in said else "quota"
    if status in (400, 413, 422) and _TOO_LONG.search(said):
        return "long"
    return "model" if later and _NO_USE.search(said) else None


def _form(status: int, said: str, asked: Asked) -> Form | None:
    """What the request could be said without."""
    if status not in _DENIED | {404, 405, 501}:
        return None
    if asked.usage and _USAGE.search(said):
        return Form.USAGE
    if asked.stream and _STREAM.search(said):
        return Form.STREAM
    return Form.SYSTEM if asked.system and _SYSTEM.search(said) else None


def _page(status: int, *, later: bool) -> Verdict:
    if later:
        return Verdict(retry=True)
    return _told({403: "blocked", 451: "blocked"}.get(status) or _BY_STATUS.get(status), Asked())


def _told(name: str | None, asked: Asked, option: str = "") -> Verdict:
    if name is None:
        return Verdict()
    return Verdict(sentence=SENTENCES[name].format(model=asked.model, option=option))


# --- an error in a stream ------------------------------------------------------------------------

#: Statuses of an error in a stream that may be gone a moment later. A 500 is not among them: the
#: provider had begun, and what failed once inside it mostly fails again.
_PASSING: Final = frozenset({408, 409, 425, 429, 502, 503, 504, *range(520, 530)})
_BUSY: Final = re.compile(rf"overloaded|at capacity|try again later|{_LIMITS}")


def judge_in_stream(status: int, said: str, asked: Asked) -> Verdict | None:
    """The same for an error object in a stream; None: an error like any other.

    `status`: what the error calls its code, 0 if that is no HTTP status.
    """
    found = judge(status if status in _PASSING else 0, said, asked)
    if found.form or found.sentence:
        return found
    if status in _PASSING or (status == 0 and _BUSY.search(said[:WORDS_MAX].lower())):
        return Verdict(retry=True)
    return None


# --- how long to wait ----------------------------------------------------------------------------


def retry_after(headers: Mapping[str, Any]) -> float | None:
    """The Retry-After header in seconds: a number, or a date (RFC 9110, 10.2.3).

    A date is the provider's, so it counts from the provider's own clock, if that is told.
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
        return max(0.0, seconds) if seconds < float("inf") else None
    except ValueError:
        pass
    moment, now = _moment(value), _moment(headers.get("date", ""))
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()) if moment else None


def _moment(date: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
