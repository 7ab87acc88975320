"""Which requests a service may answer at all. Pure: web and Flower ask the same questions.

A page of any web site may send requests to every address that its reader's browser reaches, this
machine's too. It cannot read what comes back, but what is asked for happens: a task is revoked, a
search is run, a connection is held. Four questions keep it out.

1. **Is the name in `Host` one of ours?** Against DNS rebinding: a foreign name that leads here
   makes a foreign page "the same origin". A name is compared as it is written: no sub-domain, no
   dot at its end, no other spelling of an address. Its port is compared where one is configured.
   Else any is fine: a tunnel or a forwarded port has its own, and a page cannot choose it.
2. **Does a browser say that another site's page asks?** `Sec-Fetch-Site` cannot be forged by a page
   (W3C Fetch Metadata). Only a link that a person follows is allowed: not a frame, an image or a
   script.
3. **Is `Origin` another one?** The same for browsers that do not send `Sec-Fetch-Site`.
4. **Did it come through a proxy?** Where every program on this machine is let in, a proxy would let
   in all whom it serves.

A client that sends none of these headers is no browser, and asks for itself.
"""

import re
from collections.abc import Callable, Collection, Iterable
from typing import Final
from urllib.parse import urlsplit

#: The names of this machine that a person types.
LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

#: A request's header by its name, repeated ones joined by a comma; None without it.
Header = Callable[[str], str | None]

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?", re.ASCII)

#: What proxies, tunnels and content networks add: by their kind where they have one.
_FORWARDED: Final = re.compile(
    "forwarded|x-forward.*|via|.*-via|.*-ip|.*-clientip|x-remote-.*|x-original-.*|x-originating-.*"
    "|x-scheme|x-proxy-.*|wl-proxy-.*|cf-.*|cdn-.*|fly-.*|fastly-.*|x-amzn-.*|x-amz-cf-.*|x-azure-.*"
    "|x-arr-.*|x-envoy-.*|x-vercel-.*|x-nf-.*|x-appengine-.*|x-cloud-trace-context|x-akamai-.*"
    "|x-varnish|x-sucuri-.*|incap-.*|tailscale-.*|ngrok-.*|max-forwards",
    re.ASCII,
)


def is_host(value: str) -> bool:
    """Whether this could stand in a `Host` header: a name or an address, perhaps with a port."""
    return _HOST.fullmatch(value.lower()) is not None


def is_origin(value: str) -> bool:
    """Whether a browser would write this in `Origin`: a usual port is left out."""
    scheme, separator, host = value.partition("://")
    usual = {"http": ":80", "https": ":443"}.get(scheme)
    return (
        bool(separator and usual)
        and host == host.lower()
        and is_host(host)
        and (not host.endswith(usual or ""))
    )


def is_known(host: str | None, known: Collection[str]) -> bool:
    """Whether a `Host` header names one of ours.

    `known`: lower-case names; one with a port stands for that port only.
    """
    found = _HOST.fullmatch(host.lower()) if host else None
    return found is not None and (found[0] in known or found[1] in known)


def is_foreign(method: str, header: Header) -> bool:
    """Whether another site's page sent this, other than by a link that a person followed."""
    site = header("Sec-Fetch-Site")
    if site in (None, "same-origin", "none"):
        origin = header("Origin")
        return origin is not None and not is_own(origin, header("Host") or "")
    followed = header("Sec-Fetch-Mode") == "navigate" and header("Sec-Fetch-Dest") == "document"
    return not (followed and method in ("GET", "HEAD"))


def is_own(origin: str, host: str) -> bool:
    """Whether an `Origin` is that of the host which the request is for."""
    where = urlsplit(origin)
    return where.scheme in ("http", "https") and where.netloc.lower() == host.lower()


def forwarded_by(names: Iterable[str]) -> str | None:
    """The first of these header names that only a proxy sends."""
    return next((name for name in names if _FORWARDED.fullmatch(name.lower())), None)
