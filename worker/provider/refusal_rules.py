"""Words of refusals and what they mean: the patterns of refusals.py. Pure.

Where two rules match one text, the first one counts. Their order is by what helps a person most:
money and key, then what was asked (place, model, length, filter).
"""

import re
from typing import Final, NamedTuple


def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


class Rule(NamedTuple):
    """Words that have a meaning, if the status is one of these."""

    #: of its sentence in refusals.SENTENCES
    name: str
    words: re.Pattern[str]
    #: None: any status, even one that means "try again later"
    statuses: frozenset[int] | None


#: Statuses of a request that is refused as it is; 0 is an error in a stream that names none.
BAD_REQUEST: Final = frozenset({0, 400, 422})
DENIED: Final = BAD_REQUEST | {401, 403}
RATE_LIMIT: Final = r"rate.?limit|too many requests|per.?(minute|second|hour)|\b[rt]pm\b|concurren"

RULES: Final = (
    Rule(
        "quota",
        _pattern(
            r"insufficient.{0,3}quota|exceeded_current_quota|"
            r"quota.?(has been |is )?(exhaust|used up|deplet)"
        ),
        None,
    ),
    Rule(
        "balance",
        _pattern(
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
        _pattern(
            r"requires more .{0,20}memory|out of memory|(insufficient|not enough) .{0,20}memory|"
            r"failed to allocate"
        ),
        None,
    ),
    Rule(
        "unserved",
        _pattern(r"no (available|allowed) (channel|provider|model|deployment)|无可用渠道"),
        None,
    ),
    Rule(
        "country",
        _pattern(
            r"unsupported_country|"
            r"\b(country|countries|region|territory|location)\b.{0,40}"
            r"(not|n't|un)[ -]?(be )?(support|avail|allow|serv|permit)|"
            r"not (yet )?(available|supported|allowed|offered|permitted) .{0,40}"
            r"\b(country|region|territory|location)\b"
        ),
        DENIED | {404, 451},
    ),
    Rule(
        "filter",
        _pattern(
            r"content_?filter|content management policy|responsibleai|content_policy|"
            r"data_inspection_failed|inappropriate content|content exists risk|"
            r"(prompt|input|request|content|message)s? (was|were|is|has been|have been) "
            r"(blocked|flagged|filtered)|"
            r"(flagged|blocked|rejected|refused) .{0,30}(moderation|safety|guardrail|filter)|"
            r"moderation|violat\w+ .{0,60}(polic|guideline|terms)|safety (system|filter|setting)|"
            r"prohibited_content|sensitive (content|word|information)|guardrail_|敏感|不安全"
        ),
        DENIED | {451},
    ),
    Rule(
        "key",
        _pattern(
            r"api_key_invalid|invalid_api_key|"
            r"(invalid|incorrect|wrong|expired|missing|malformed|unknown|disabled|revoked|no) "
            r"(or \w+ )?(x-)?(api.?key|(access|bearer|auth\w*) token|credential|authentication)|"
            r"(api.?key|credentials?|access token).{0,60}(not valid|invalid|incorrect|expired|"
            r"missing|required|not found|disabled|revoked|not provided|not exist)|"
            r"invalid_authentication|authentication_?error|unauthori[sz]ed|unauthenticated"
        ),
        DENIED | {404},
    ),
    Rule(
        "network",
        _pattern(r"\bip\b.{0,40}(not|un|block|denied|whitelist|allow.?list)|ip_not_"),
        frozenset({401, 403}),
    ),
    Rule(
        "long",
        _pattern(
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
        _pattern(
            r"model_?not_?(found|exist)|deployment_?not_?found|invalid_model|model_not_supported|"
            r"model not (found|exist)|(no such|unknown|unsupported|invalid) model\b|"
            r"\b(model|deployment)s?\b.{0,160}?"
            r"((does|do|did) not exist|doesn't exist|not exist\b|(is |was |be )?not found|"
            r"(is |are )?not available|unavailable|not a valid|is invalid|not loaded|not deployed|"
            r"(been |is )(deprecated|decommissioned|retired)|no access to)|"
            r"\bmodel\W{1,4}[\w./:@-]+\W{1,3}(is )?(not|un)[ -]?(supported|known|recognized)|"
            r"no endpoints found|not a valid model|access to (the )?model|模型不存在"
        ),
        DENIED | {404, 410},
    ),
    Rule("long", _pattern(r"too (long|large)|too many (characters|messages)"), frozenset({0, 413})),
)
#: Words that mean a lasting refusal even with a status that means "try again later".
PERMANENT: Final = re.compile(r"insufficient_quota|exceeded_current_quota|model_?not_?found")

TOO_LONG: Final = re.compile(r"too long")
#: The feature of the request that is not supported.
NO_USAGE: Final = re.compile(r"stream_options|include_usage")
NO_STREAM: Final = re.compile(
    r"verified to stream|"
    r"[\"'`](param|parameter|field|loc)[\"'`]: ?\[?([\"'`]body[\"'`], ?)?[\"'`]stream[\"'`]|"
    r"\bstream(ing|ed)?\b.{0,40}(not|n't|un)[ -]?(be )?(support|allow|avail|enabl|permit|accept)|"
    r"(not|n't|un)[ -]?(yet )?(support|allow|accept|permit|enabl)\w* .{0,30}\bstream(ing|ed)?\b|"
    r"\bnon.?stream(ing)?\b.{0,30}(only|support)|only .{0,30}\bnon.?stream"
)
NO_SYSTEM: Final = re.compile(
    r"(system|developer).{0,3} ?(role|prompt|message|instruction|turn)s?\b.{0,60}"
    r"(not|n't|un)[ -]?(be )?(support|allow|enabl|accept|permit|avail|valid|recogni|known)|"
    r"(not|n't|un)[ -]?(be )?(support|allow|enabl|accept|permit)\w* .{0,40}"
    r"(system|developer).{0,3} ?(role|prompt|message|instruction)|"
    r"(invalid|unknown|unsupported|unexpected) (message )?role\b.{0,20}(system|developer)|"
    r"\brole\b.{0,12}(system|developer).{0,40}(not|n't|un|invalid)|"
    r"roles? must alternate|must start with (a|the) user|first message must be .{0,12}user"
)
#: Some field is unknown, and the text does not say which.
UNKNOWN_FIELD: Final = re.compile(
    r"extra (input|field|propert|parameter|argument|key)|extra_forbidden|additional propert|"
    r"(unknown|unrecogni[sz]ed|unexpected|unsupported|undefined|invalid|unallowed)"
    r"( request| json| body)? (field|parameter|param|argument|key|name|propert|option|keyword|"
    r"input|attribute)|not permitted|unexpected keyword"
)
#: The option is known, but its value is not accepted.
OUT_OF_RANGE: Final = re.compile(r"too (large|big|high|small|low)|must be|at most|at least|between")
