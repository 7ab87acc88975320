"""How the provider is reached from here: whose certificates are trusted, and which proxies work."""

import os
import ssl
from pathlib import Path
from typing import Final

import httpx2

#: Variables that name a file (or folder) of authorities; other software knows them, too.
BUNDLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: OpenSSL's reason for a server that speaks something else.
NOT_SPOKEN: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
#: Why a process ends at its start.
PROXY: Final = (
    "The environment cannot be used:\n  HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: a proxy's address"
    " must begin with http://, https://, socks5:// or socks5h://."
)


def client_context() -> ssl.SSLContext:
    """A context that trusts whom the environment names, else whom the system trusts.

    Raises SystemExit with a sentence for a file that cannot be read.
    """
    # Several names are often given the same file, and loading one takes 20 ms of CPU.
    named = {os.environ[name]: name for name in reversed(BUNDLES) if os.environ.get(name)}
    if named or os.environ.get("SSL_CERT_DIR"):
        context = ssl.create_default_context(capath=os.environ.get("SSL_CERT_DIR"))
    else:
        context = httpx2.create_ssl_context(trust_env=False)
    for place, name in named.items():
        try:
            if Path(place).is_dir():
                context.load_verify_locations(capath=place)
            else:
                context.load_verify_locations(cafile=place)
        except (OSError, ssl.SSLError):
            raise SystemExit(
                f"The environment cannot be used:\n  {name}: that file holds no certificates."
            ) from None
    return context
