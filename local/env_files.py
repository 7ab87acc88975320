"""The environment of a deployment in files: `outlive.env` for all, and one for each Procfile line.

systemd reads them as root (`local/systemd.py`), so their mode is 600. `outlive --env DIR` reads
them, too. A line's own file wins over the common one: `release.env` has the address of the role
that migrates, and each of the others its own user of Redis.
"""

import secrets
from pathlib import Path
from typing import Final

from local.saved_addresses import write_private
from shared import vapid

#: The name of the file that all processes read.
COMMON: Final = "outlive"

_FILES: Final = {
    COMMON: """\
# What every process of this deployment reads. See docs/operations.md for all variables.
OUTLIVE_AUTH=required
# The address that browsers use, and another name for web: that for Prometheus on this machine.
OUTLIVE_PUBLIC_URL=https://{host}
OUTLIVE_HOSTS=127.0.0.1:8000
# Whose X-Forwarded-... headers are believed: nginx, on this machine.
OUTLIVE_TRUSTED_PROXIES=127.0.0.1
OUTLIVE_PREFIX={prefix}
# By it push services recognise this deployment; another key unsubscribes all browsers.
OUTLIVE_PUSH_KEY={push_key}
DATABASE_URL=postgresql://{role}:{secret}@127.0.0.1:5432/{role}

# The provider: any server with OpenAI's chat completions.
OPENAI_BASE_URL=https://api.openai.com/v1
OPENAI_API_KEY=
OUTLIVE_MODEL=gpt-4o-mini
""",
    "web": """\
# Read after outlive.env, by web only.
REDIS_URL=redis://{prefix}-web:{secret}@127.0.0.1:6379/0

# Ways in, besides accounts and service keys, which need no setting.
# A host product signs its users in (docs/sign-in.md):
#OUTLIVE_JWT_SECRET=
#OUTLIVE_JWT_AUDIENCE=outlive
# An identity provider does (docs/accounts.md):
#OUTLIVE_OIDC_ISSUER=https://login.example.org
#OUTLIVE_OIDC_CLIENT_ID=outlive
#OUTLIVE_OIDC_CLIENT_SECRET=
""",
    "worker": """\
# Read after outlive.env, by workers only.
REDIS_URL=redis://{prefix}-worker:{secret}@127.0.0.1:6379/0
""",
    "flower": """\
# Read after outlive.env, by Flower only.
REDIS_URL=redis://{prefix}-flower:{secret}@127.0.0.1:6379/0
FLOWER_BASIC_AUTH=operator:{secret}
""",
    "release": """\
# Read after outlive.env, by the migrations only: the role that owns the tables.
DATABASE_URL=postgresql://{role}_migrate:{secret}@127.0.0.1:5432/{role}
""",
}


class Unreadable(Exception):
    """A file of variables cannot be read. The message is for the user."""


def create(folder: Path, host: str, prefix: str) -> list[Path]:
    """Write the files that are missing, with new secrets; the paths of those."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    created = []
    for name, text in _FILES.items():
        file = folder / f"{name}.env"
        if not file.exists():
            while "{secret}" in text:
                text = text.replace("{secret}", secrets.token_hex(24), 1)  # noqa: PLW2901
            words = {"host": host, "prefix": prefix, "role": prefix.replace("-", "_")}
            words["push_key"] = vapid.new_key() if "{push_key}" in text else ""
            write_private(file, text.format(**words))
            created.append(file)
    return created


def load(folder: Path, line: str) -> dict[str, str]:
    """The environment of one line of the Procfile. Raises Unreadable."""
    env: dict[str, str] = {}
    for file in (folder / f"{COMMON}.env", folder / f"{line}.env"):
        try:
            lines = file.read_text().split("\n")
        except OSError as error:
            raise Unreadable(f"{file}: {error.strerror}") from error
        for text in lines:
            variable, separator, value = text.strip().partition("=")
            if separator and not variable.startswith(("#", ";")):
                env[variable.strip()] = value.strip().strip("\"'")
    return env
