"""The settings: environment variables, parsed once, strictly. Seconds may be decimals.

Names without prefix are the ones other software knows too; ours begin with OUTLIVE_.
"""

import base64
import ipaddress
import os
import re
import socket
import uuid
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.colours import accent
from shared.disconnects import seconds_of
from shared.origins import is_host, is_origin
from shared.push_services import SERVICES, is_service


def with_driver(url: str) -> str:
    """SQLAlchemy's name for the driver, whatever the platform called it."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in ("postgres", "postgresql"):
        raise ValueError("DATABASE_URL must begin with postgresql://")
    return f"postgresql+psycopg2://{rest}"


def _redis(url: str) -> str:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("REDIS_URL must begin with redis://, rediss:// or unix://")
    return url


def _hosts(names: str) -> str:
    wrong = [name for name in _split(names) if not is_host(name)]
    if wrong:
        raise ValueError("OUTLIVE_HOSTS must be names like chat.example.org or 10.0.0.7:8080")
    return names


#: A network of addresses.
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _proxies(networks: str, info: ValidationInfo) -> str:
    try:
        found = [ipaddress.ip_network(one) for one in _split(networks)]
    except ValueError as error:
        raise ValueError(
            f"OUTLIVE_TRUSTED_PROXIES must be addresses and networks like 10.0.0.0/24: {error}"
        ) from None
    if any(one.prefixlen == 0 for one in found):
        raise ValueError("OUTLIVE_TRUSTED_PROXIES must not be everybody: name the proxies")
    return _with_sign_in(networks, info, "OUTLIVE_TRUSTED_PROXIES")


def _origins(names: str, info: ValidationInfo) -> str:
    if not all(is_origin(name) for name in _split(names)):
        raise ValueError(
            "OUTLIVE_CORS_ORIGINS must be origins as browsers write them, like"
            " https://app.example.org or http://localhost:3000: no path, no usual port, no *"
        )
    return _with_sign_in(names, info, "OUTLIVE_CORS_ORIGINS")


def _with_sign_in(value: str, info: ValidationInfo, name: str) -> str:
    if _split(value) and info.data.get("auth") == "local":
        raise ValueError(f"{name} needs OUTLIVE_AUTH=required")
    return value


def _split(names: str) -> list[str]:
    return [name.strip().lower() for name in names.split(",") if name.strip()]


def _on_disconnect(said: str) -> str:
    try:
        seconds_of(said)
    except ValueError as error:
        raise ValueError(f"OUTLIVE_ON_DISCONNECT: {error}") from None
    return said


def _prefix(name: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_-]{0,30}", name, re.ASCII):
        raise ValueError(
            "OUTLIVE_PREFIX must be 1 to 31 lower-case letters, digits, _ and -, a letter first"
        )
    return name


#: Open answers of a user, and open streams of one in a web process, where people sign in and no
#: other cap is set: more than a person has, and too few to take what others need.
USER_OPEN: Final = 1_000
USER_STREAMS: Final = 500
#: What comes along when a value is copied from a document or a shell: blanks, line ends, quotes of
#: every kind, invisible marks.
_AROUND: Final = (
    " \t\r\n\v\f\xa0\u200b\u200c\u200d\u2060\ufeff\"'`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
)
#: Where the provider is if nothing says otherwise.
OPENAI: Final = "https://api.openai.com/v1"


def _address(url: str | None) -> str | None:
    """A provider's base address as it was meant; ValueError if that is not clear."""
    url = (url or "").strip(_AROUND)
    if not url:
        return None
    try:
        scheme, netloc, path, query, _ = urlsplit(url)
    except ValueError:  # whose text quotes the address
        raise ValueError("OPENAI_BASE_URL is no address") from None
    if scheme.lower() not in ("http", "https") or not netloc:
        raise ValueError("OPENAI_BASE_URL must begin with https:// or http:// and name a host")
    if any(character.isspace() or ord(character) < 32 for character in url):
        raise ValueError("OPENAI_BASE_URL must not have blanks or line ends in it")
    port = netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    if port and not (port.isdecimal() and int(port) < 1 << 16):
        raise ValueError("OPENAI_BASE_URL has an invalid port")
    path = path.rstrip("/")
    for call in ("/chat/completions", "/completions", "/responses", "/models"):
        path = path.removesuffix(call)
    return urlunsplit((scheme, netloc, path.rstrip("/"), query, ""))


def _key(key: str) -> str:
    """An API key as it was meant; ValueError if that is not clear."""
    key = key.strip(_AROUND)
    if key[:7].lower() == "bearer ":
        key = key[7:].strip(_AROUND)
    if not all("!" <= character <= "~" for character in key):
        raise ValueError(
            "OPENAI_API_KEY has a character in it that no key has: a blank, a line end, a curly"
            " quote or a letter with an accent; copy the key once more"
        )
    return key


#: Bytes of a secret for HS256 (RFC 7518, 3.2: not fewer than its hash has).
_SECRET_BYTES: Final = 32


def _secrets(secrets: str) -> str:
    if any(len(one.encode()) < _SECRET_BYTES for one in secrets.split()):
        raise ValueError(
            f"OUTLIVE_JWT_SECRET must be at least {_SECRET_BYTES} random characters (two of them,"
            " with a blank between, while you change it)"
        )
    return secrets


def _pem(text: str) -> str:
    """PEM as it was meant: many tools keep a line end as the characters backslash and n."""
    text = text.replace("\\n", "\n").strip(_AROUND)
    if text and not text.startswith("-----BEGIN PUBLIC KEY-----"):
        raise ValueError("OUTLIVE_JWT_PUBLIC_KEY must begin with -----BEGIN PUBLIC KEY-----")
    return text


def _jwks_url(url: str, info: ValidationInfo) -> str:
    url = url.strip(_AROUND)
    if not url:
        return ""
    if not is_trusted(url):
        raise ValueError("OUTLIVE_JWT_JWKS_URL must begin with https:// (or be on this machine)")
    if not info.data.get("jwt_audience"):
        raise ValueError(
            "OUTLIVE_JWT_JWKS_URL needs OUTLIVE_JWT_AUDIENCE: whoever serves those keys also signs"
            " tokens for others, and only the audience says which are for this service"
        )
    return url


def _boot(name: str) -> str:
    """A boot's name; an id in one spelling, as `sweep --died` names it."""
    try:
        return str(uuid.UUID(name))
    except ValueError:
        return name


def _public_url(url: str) -> str:
    """An origin, as browsers write it: without a path."""
    url = url.strip(_AROUND).rstrip("/")
    where = urlsplit(url)
    fits = where.scheme in ("http", "https") and is_host(where.netloc) and not where.path
    if url and not (fits and url == f"{where.scheme}://{where.netloc}"):
        raise ValueError("OUTLIVE_PUBLIC_URL must be like https://chat.example.org, without a path")
    return url.lower()


def _oidc_issuer(url: str, info: ValidationInfo) -> str:
    url = url.strip(_AROUND)
    if not url:
        return ""
    if not is_trusted(url) or "?" in url or "#" in url:
        raise ValueError("OUTLIVE_OIDC_ISSUER must begin with https:// (or be on this machine)")
    if not info.data.get("public_url"):
        raise ValueError(
            "OUTLIVE_OIDC_ISSUER needs OUTLIVE_PUBLIC_URL: the provider sends browsers back there"
        )
    if not info.data.get("oidc_client_id"):
        raise ValueError("OUTLIVE_OIDC_ISSUER needs OUTLIVE_OIDC_CLIENT_ID")
    return url


#: The order of the curve P-256: a private key is a number below it.
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _push_key(key: str) -> str:
    key = key.strip(_AROUND)
    if key:
        try:
            found = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
        except ValueError:
            found = b""
        if len(found) != 32 or not 0 < int.from_bytes(found) < _ORDER:
            raise ValueError("OUTLIVE_PUSH_KEY must be a key that `outlive push-key` has made")
    return key


def _push_contact(address: str) -> str:
    address = address.strip(_AROUND)
    if address and not address.startswith(("mailto:", "https://")):
        raise ValueError("OUTLIVE_PUSH_CONTACT must begin with mailto: or https://")
    return address


def _push_services(names: str) -> str:
    if not all(map(is_service, _split(names))):
        raise ValueError(
            "OUTLIVE_PUSH_SERVICES must be hosts like push.example.org or *.example.org, or"
            " origins like https://push.example.org:8443"
        )
    return names


#: Characters of the name, of a suggestion and of the instructions, and suggestions in all.
NAME_CHARS: Final = 40
SUGGESTION_CHARS: Final = 120
INSTRUCTIONS_CHARS: Final = 20_000
MOST_SUGGESTIONS: Final = 6
#: Bytes of a logo.
LOGO_BYTES: Final = 64 << 10


def _name(name: str) -> str:
    name = name.strip()
    if not (0 < len(name) <= NAME_CHARS and name.isprintable()):
        raise ValueError(f"OUTLIVE_NAME must be 1 to {NAME_CHARS} characters in one line")
    return name


def logo_type(data: bytes) -> str:
    """The media type of a logo. Raises ValueError for what is none."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if re.match(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<svg[\s>]", data, re.DOTALL):
        return "image/svg+xml"
    raise ValueError("OUTLIVE_LOGO must be an SVG, a PNG or a WebP")


def _logo(file: str) -> str:
    if file:
        try:
            data = Path(file).read_bytes()
        except OSError as error:
            raise ValueError(f"OUTLIVE_LOGO cannot be read: {error.strerror}") from None
        if len(data) > LOGO_BYTES:
            raise ValueError(f"OUTLIVE_LOGO has more than {LOGO_BYTES >> 10} KiB")
        logo_type(data)
    return file


def _colors(text: str) -> str:
    try:
        accent(text)
    except ValueError as error:
        raise ValueError(f"OUTLIVE_COLORS {error}") from None
    return text


def _instructions(text: str) -> str:
    if len(text) > INSTRUCTIONS_CHARS:
        raise ValueError(f"OUTLIVE_INSTRUCTIONS has more than {INSTRUCTIONS_CHARS} characters")
    return text


def _suggestions(text: str) -> str:
    found = _listed(text)
    if len(found) > MOST_SUGGESTIONS or any(len(one) > SUGGESTION_CHARS for one in found):
        raise ValueError(
            f"OUTLIVE_SUGGESTIONS must be {MOST_SUGGESTIONS} questions of {SUGGESTION_CHARS}"
            ' characters at most, with a "|" between them, or "none"'
        )
    return text


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split("|") if one.strip()]


def _frame_origins(names: str) -> str:
    for name in _split(names):
        near = urlsplit(name).hostname in ("localhost", "127.0.0.1")
        if not is_origin(name) or not (name.startswith("https://") or near):
            raise ValueError(
                "OUTLIVE_FRAME_ORIGINS must be origins like https://app.example.org: no path, no *"
            )
    return names


def is_trusted(url: str) -> bool:
    """Whether what is read from there cannot be changed on the way."""
    where = urlsplit(url)
    is_near = where.hostname in ("localhost", "127.0.0.1", "::1")
    return where.scheme == "https" or (where.scheme == "http" and is_near)


def _variable(location: str) -> str:
    """The environment's name for a field: aliases are upper case already."""
    return location if location.isupper() else f"OUTLIVE_{location.upper()}"


def _rate(text: str) -> str:
    """A rate as Flask-Limiter reads it; 0 is none."""
    found = " ".join(text.split()).lower()
    if found in ("0", "off", ""):
        return ""
    if not re.fullmatch("[1-9][0-9]{0,8} ?(/|per) ?(second|minute|hour|day)", found, re.ASCII):
        raise ValueError("must be like 60/minute (second, minute, hour, day), or 0")
    return found


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, le=400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Cap = Annotated[int, Field(ge=0)]
Rate = Annotated[str, AfterValidator(_rate)]


class Settings(BaseSettings):
    """The service's settings; `Settings.from_env()` is the only reader of the environment."""

    model_config = SettingsConfigDict(
        env_prefix="OUTLIVE_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: Annotated[str, AfterValidator(with_driver)] = Field(
        "postgresql://localhost/outlive",
        validation_alias="DATABASE_URL",
        validate_default=True,
        repr=False,
    )
    redis_url: Annotated[str, AfterValidator(_redis)] = Field(
        "redis://localhost:6379/0", validation_alias="REDIS_URL", repr=False
    )
    #: What all names in Redis begin with: deployments that share a database need one each.
    prefix: Annotated[str, AfterValidator(_prefix)] = "outlive"
    openai_base_url: Annotated[str | None, AfterValidator(_address)] = Field(
        None, validation_alias="OPENAI_BASE_URL"
    )
    openai_api_key: Annotated[str, AfterValidator(_key)] = Field(
        "", validation_alias="OPENAI_API_KEY", repr=False
    )
    port: int = Field(8000, validation_alias="PORT")
    web_concurrency: Count = Field(2, validation_alias="WEB_CONCURRENCY")
    #: Names, comma-separated, that web answers to besides its own; see `known_hosts`.
    hosts: Annotated[str, AfterValidator(_hosts)] = ""

    #: The model asked when a question names none.
    model: str = "gpt-4o-mini"
    #: Code points of history sent with a question; the oldest turns beyond are left out.
    history_chars: Count = 200_000
    #: Code points after which an answer is ended with finish_reason "length".
    #: Postgres keeps it in one jsonb, which ends at 256 MiB: 64 million of four bytes still fit.
    answer_chars: Annotated[int, Field(ge=1, le=64_000_000)] = 4_000_000
    #: Whether an answer that begins with `<think>` begins with thoughts.
    think_tags: bool = True
    #: A save is due at this many unsaved code points, or after save_seconds.
    save_chars: Count = 200
    save_seconds: Seconds = 1.0
    #: How long a worker may be silent before its answers are taken from it.
    lease_seconds: Seconds = 15.0
    heartbeat_seconds: Seconds = 3.0
    sweep_seconds: Seconds = 2.0
    queue_deadline_seconds: Seconds = 120.0
    first_token_seconds: Seconds = 300.0
    stall_seconds: Seconds = 60.0
    hard_deadline_seconds: Seconds = 900.0
    #: What becomes of an answer when its last reader leaves: see shared/disconnects.py.
    on_disconnect: Annotated[str, AfterValidator(_on_disconnect)] = "continue"
    #: How long a stopping worker lets its answers go on (default: the hard deadline).
    drain_seconds: float | None = Field(None, ge=0, allow_inf_nan=False)
    #: The longest response of the stream route; the client comes back after it.
    stream_max_seconds: Seconds = 1800.0
    sse_heartbeat_seconds: Seconds = 15.0
    worker_concurrency: Count = 200
    #: Open generations a user may have, and open streams of a user and of an address in one web
    #: process; 0 is no cap. See `open_answers` and `streams`.
    max_open: Cap | None = None
    max_streams: Cap | None = None
    max_address_streams: Cap = 0
    #: Code points of a question, and tokens of an answer that a question may ask for (max_tokens,
    #: max_completion_tokens); 0 is no cap.
    question_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000_000
    max_tokens: Cap = 0
    #: Answers of a user that are with the workers at a time, queued or being written; the others
    #: wait for their turn. 0 is no limit; see `running`.
    max_running: Cap | None = None
    #: Days after which a conversation in which nothing was asked is removed; 0: they are kept.
    retention_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    #: Tokens that a user may use in a day and in a month (UTC); 0 is no budget.
    daily_tokens: Cap = 0
    monthly_tokens: Cap = 0
    #: Requests that start an answer, and others, per user and per service key; both per address;
    #: attempts to sign in, per address and per account. See `limits_rates`.
    ask_rate: Rate = "60/minute"
    read_rate: Rate = "1200/minute"
    address_rate: Rate = "6000/minute"
    sign_in_rate: Rate = "10/minute"
    #: Whether a conversation without a title gets one: in web its first question's words, in a
    #: worker the model's.
    titles: bool = True
    #: Whether operators may see what runs, and where Flower is.
    live: bool = True
    flower_url: str | None = None
    #: Where a worker serves its metrics, if web (on another machine) cannot; 0 is nowhere.
    metrics_port: Cap = 0
    #: What the operator calls this service, a file with its logo, and its colours (see `colours`).
    name: Annotated[str, AfterValidator(_name)] = "Outlive"
    logo: Annotated[str, AfterValidator(_logo)] = ""
    colors: Annotated[str, AfterValidator(_colors)] = ""
    #: What a new conversation in the page begins with, and questions that it suggests.
    instructions: Annotated[str, AfterValidator(_instructions)] = ""
    suggestions: Annotated[str, AfterValidator(_suggestions)] = ""
    #: of the page, where the browser asks for none that we have
    language: Literal["en", "ar"] = "en"
    auth: Literal["local", "required"] = "local"
    #: Addresses and networks of proxies whose forwarded headers are believed, and origins whose
    #: pages may use the API with a bearer token; comma-separated.
    trusted_proxies: Annotated[str, AfterValidator(_proxies)] = ""
    cors_origins: Annotated[str, AfterValidator(_origins)] = ""
    #: Whose tokens are accepted, and how they are checked: see docs/sign-in.md.
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_secret: Annotated[str, AfterValidator(_secrets)] = Field("", repr=False)
    jwt_public_key: Annotated[str, AfterValidator(_pem)] = ""
    jwt_jwks_url: Annotated[str, AfterValidator(_jwks_url)] = ""
    #: Origins whose pages may show this one in a frame, comma-separated.
    frame_origins: Annotated[str, AfterValidator(_frame_origins)] = ""
    #: The address that browsers use. With https, cookies are for https only.
    public_url: Annotated[str, AfterValidator(_public_url)] = ""
    #: A session ends after this long without use, and in any case.
    session_idle_days: Days = 7.0
    session_max_days: Days = 30.0
    #: The identity provider by which people may sign in (OpenID Connect).
    oidc_client_id: str = ""
    oidc_issuer: Annotated[str, AfterValidator(_oidc_issuer)] = ""
    oidc_client_secret: str = Field("", repr=False)
    #: The private key by which push services recognise this deployment (VAPID); without one no
    #: browser is notified while it is closed. Whom they may write to, and which they may be.
    push_key: Annotated[str, AfterValidator(_push_key)] = Field("", repr=False)
    push_contact: Annotated[str, AfterValidator(_push_contact)] = ""
    push_services: Annotated[str, AfterValidator(_push_services)] = SERVICES
    #: Names this process among all that ever ran (see `owner`).
    boot: Annotated[str, AfterValidator(_boot)] = Field(default_factory=lambda: str(uuid.uuid4()))
    #: A file to create when the process takes work: how a supervisor knows without asking.
    ready_file: str | None = None

    @classmethod
    def from_env(cls) -> Self:
        """Read the environment; exits with a sentence a person can act on when it is wrong."""
        try:
            return cls()
        except ValidationError as error:
            lines = [
                f"  {_variable(str(problem['loc'][0]))}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_url=False)
            ]
            raise SystemExit("The environment cannot be used:\n" + "\n".join(lines)) from None

    @cached_property
    def known_hosts(self) -> frozenset[str]:
        """The names in `hosts` and `public_url`; one with a port stands for that port only."""
        public = urlsplit(self.public_url).netloc
        return frozenset(_split(self.hosts)) | ({public} if public else frozenset())

    @property
    def is_https(self) -> bool:
        """Whether browsers use this service over https."""
        return self.public_url.startswith("https://")

    @cached_property
    def proxies(self) -> frozenset[Network]:
        """The networks of `trusted_proxies`."""
        return frozenset(map(ipaddress.ip_network, _split(self.trusted_proxies)))

    @cached_property
    def listed_origins(self) -> frozenset[str]:
        """The origins of `cors_origins`."""
        return frozenset(_split(self.cors_origins))

    @property
    def contact(self) -> str:
        """Where push services reach the operator: they want an address, whatever it is."""
        default = self.public_url if self.is_https else "mailto:operator@localhost"
        return self.push_contact or default

    @cached_property
    def frames(self) -> frozenset[str]:
        """The origins of `frame_origins`."""
        return frozenset(_split(self.frame_origins))

    @cached_property
    def ideas(self) -> tuple[str, ...]:
        """The questions of `suggestions`."""
        return () if self.suggestions == "none" else tuple(_listed(self.suggestions))

    @cached_property
    def push_places(self) -> frozenset[str]:
        """The services of `push_services`."""
        return frozenset(_split(self.push_services))

    @cached_property
    def owner(self) -> str:
        """The name under which this process holds leases: `<host>:<boot>`."""
        return f"{socket.gethostname()}:{self.boot}"

    @property
    def provider_url(self) -> str:
        """The provider's base address, without a query."""
        return (self.openai_base_url or OPENAI).partition("?")[0]

    @property
    def provider_query(self) -> dict[str, str]:
        """The query that every request to the provider has."""
        query = (self.openai_base_url or "").partition("?")[2]
        return dict(parse_qsl(query, keep_blank_values=True))

    @property
    def drain(self) -> float:
        """Seconds that running answers get when the worker is told to stop."""
        return self.hard_deadline_seconds if self.drain_seconds is None else self.drain_seconds

    @property
    def running(self) -> int:
        """Answers of a user that are with the workers at a time; 0 is no limit.

        By default half of what one worker writes at once, so that one user cannot fill it. Without
        sign-in there is one user, and no limit.
        """
        return self._cap(self.max_running, max(1, self.worker_concurrency // 2))

    @property
    def open_answers(self) -> int:
        """Open answers that a user may have; 0 is no cap, as without sign-in."""
        return self._cap(self.max_open, USER_OPEN)

    @property
    def streams(self) -> int:
        """Open streams of a user in one web process; 0 is no cap, as without sign-in."""
        return self._cap(self.max_streams, USER_STREAMS)

    def _cap(self, given: int | None, with_sign_in: int) -> int:
        if given is not None:
            return given
        return 0 if self.auth == "local" else with_sign_in

    @property
    def limits_rates(self) -> bool:
        """Whether requests are counted: with sign-in, or where a rate was set."""
        rates = {"ask_rate", "read_rate", "address_rate", "sign_in_rate"}
        return self.auth != "local" or bool(rates & self.model_fields_set)

    @property
    def bind(self) -> str:
        """Where gunicorn listens: a supervisor's socket, else PORT; loopback without sign-in."""
        host = "127.0.0.1" if self.auth == "local" else "0.0.0.0"  # noqa: S104
        return os.environ.get("OUTLIVE_BIND") or f"{host}:{self.port}"
