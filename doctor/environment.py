"""The environment: secrets, debugging, sign-in, who may read the files."""

import ipaddress
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

from doctor.findings import Finding, Patient, Process
from local import env_files

#: Characters of a password or a key, at least.
SHORTEST: Final = 16
#: Parts of passwords that are guessed first.
_GUESSED: Final = ("changeme", "change-me", "example", "outlive", "passwor", "postgres", "secret")
#: Variables that are off if they have one of these values.
_OFF: Final = ("", "0", "false", "no", "off")
#: Variables that hold a secret as a whole.
_SECRETS: Final = ("OUTLIVE_JWT_SECRET", "OUTLIVE_OIDC_CLIENT_SECRET")

_NEW: Final = "Set another one, such as `openssl rand -hex 24` prints."
#: A secret that somebody else gives out.
_GIVEN: Final = "Have the identity provider make another one."


def check(patient: Patient) -> Iterator[Finding]:
    """All that the environment says by itself."""
    yield from _sign_in(patient)
    yield from _proxies(patient)
    yield from _public_url(patient)
    for process in patient.processes:
        yield from _secrets(process)
        yield from _debugging(process)
    yield from _files(patient)


def _sign_in(patient: Patient) -> Iterator[Finding]:
    host = urlsplit(patient.address or "").hostname or "localhost"
    if patient.web.settings.auth == "local" and not is_loopback(host):
        yield Finding(
            "sign-in",
            "OUTLIVE_AUTH is local: everybody who reaches web is the one local user, and requests"
            " through a proxy are refused.",
            "Set OUTLIVE_AUTH=required (docs/deploy.md).",
        )


def _proxies(patient: Patient) -> Iterator[Finding]:
    settings = patient.web.settings
    behind_one = urlsplit(patient.address or "").scheme == "https"  # web itself speaks no TLS
    if behind_one and settings.auth == "required" and not settings.proxies:
        yield Finding(
            "proxies",
            "Web does not know its proxy: all requests seem to come from that one address, share"
            " its rate limit, and seem to be unencrypted.",
            "Set OUTLIVE_TRUSTED_PROXIES to the proxy's address as web sees it, such as 127.0.0.1"
            " (docs/operations.md, Proxies).",
        )


def _public_url(patient: Patient) -> Iterator[Finding]:
    settings = patient.web.settings
    if settings.auth != "required":
        return
    public = urlsplit(settings.public_url)
    address = urlsplit(patient.address or settings.public_url)
    origin = f"{address.scheme}://{address.netloc}".lower()
    if not settings.is_https and (origin.startswith("https://") or not _is_near(public.hostname)):
        yield Finding(
            "cookies",
            "Web does not know that browsers use https: they would send the cookie of a session"
            " over http, too, where others on the way read it.",
            "Set OUTLIVE_PUBLIC_URL to the https:// address that browsers use (docs/accounts.md).",
        )
    elif settings.public_url and origin != settings.public_url:
        yield Finding(
            "public-url",
            f"Browsers use {origin}, and OUTLIVE_PUBLIC_URL is {settings.public_url}: who signs in"
            " does not keep the session, or is sent to the other address.",
            "Set OUTLIVE_PUBLIC_URL to the address that browsers use.",
        )


def _is_near(host: str | None) -> bool:
    return host is None or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _secrets(process: Process) -> Iterator[Finding]:
    for name, secret in _found_secrets(process):
        reason = _weakness(secret)
        if reason:
            mend = _GIVEN if name == "OUTLIVE_OIDC_CLIENT_SECRET" else _NEW
            yield Finding("secrets", f"{name} ({process.name}) {reason}.", mend)


def _found_secrets(process: Process) -> Iterator[tuple[str, str]]:
    for name in ("DATABASE_URL", "REDIS_URL"):
        password = urlsplit(process.env.get(name, "")).password
        if password is not None:
            yield f"The password in {name}", unquote(password)
    flower = process.env.get("FLOWER_BASIC_AUTH", "")
    for credential in flower.split(",") if flower else ():
        yield "The password in FLOWER_BASIC_AUTH", credential.strip().partition(":")[2]
    for name in _SECRETS:
        for secret in process.env.get(name, "").split():  # two, while it is changed
            yield name, secret


def _weakness(secret: str) -> str | None:
    if len(secret) < SHORTEST:
        return f"has only {len(secret)} characters"
    if any(word in secret.lower() for word in _GUESSED):
        return "is made of a word that is guessed first"
    if len(set(secret)) < SHORTEST // 3:
        return "repeats a few characters"
    return None


def _debugging(process: Process) -> Iterator[Finding]:
    for name in ("FLASK_DEBUG", "OPENAI_LOG", "PYTHONDEVMODE"):
        value = process.env.get(name, "")
        if value.lower() not in _OFF:
            yield Finding(
                "debug",
                f"{name} is set ({process.name}): it may show prompts, keys or code.",
                f"Remove {name}.",
            )
    arguments = process.env.get("GUNICORN_CMD_ARGS", "")
    if "reload" in arguments or "debug" in arguments:
        yield Finding(
            "debug",
            f"GUNICORN_CMD_ARGS has --reload or debug in it ({process.name}).",
            "Remove it from GUNICORN_CMD_ARGS.",
        )


def _files(patient: Patient) -> Iterator[Finding]:
    if patient.folder is None:
        return
    for name in (env_files.COMMON, *(process.name for process in patient.processes)):
        file = patient.folder / f"{name}.env"
        if file.stat().st_mode & 0o077:
            yield Finding(
                "files", f"{file} holds secrets and others may read it.", f"chmod 600 {file}"
            )
