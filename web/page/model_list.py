"""The provider's list of models, for whoever chooses one. Kept for a while, and honest when there
is none: then the service's own model is all that is known."""

import json
import time
from typing import Any, Final

import gevent
import httpx2
import structlog
from gevent.lock import BoundedSemaphore

from shared import tls
from shared.settings import Settings

#: Seconds for which a list, and the lack of one, is kept; seconds that asking may take in all.
KEPT: Final = 300.0
KEPT_NONE: Final = 15.0
PATIENCE: Final = 3.0
#: Bytes of an answer, names in a list, and code points of a name that are taken.
BYTES: Final = 1 << 20
MOST: Final = 500
NAME_CHARS: Final = 200

log = structlog.get_logger("models")


class ModelList:
    """What may be asked."""

    def __init__(self, settings: Settings) -> None:
        self._default = settings.model
        self._url = settings.provider_url + "/models"
        self._query = settings.provider_query
        self._key = settings.openai_api_key
        self._tls = tls.client_context()
        self._found: list[str] = []
        self._until = 0.0
        self._asking = BoundedSemaphore()

    def listed(self) -> dict[str, Any]:
        """The models, this service's own first; `known`: whether the provider has told."""
        with self._asking:
            if time.monotonic() >= self._until:
                self._found = self._ask()
                self._until = time.monotonic() + (KEPT if self._found else KEPT_NONE)
            found = self._found
        others = sorted(set(found) - {self._default})
        items = [{"id": name} for name in [self._default, *others]]
        return {"items": items, "default": self._default, "known": bool(found)}

    def _ask(self) -> list[str]:
        try:
            with gevent.Timeout(PATIENCE, httpx2.ReadTimeout("")):
                return _names(self._read())
        except (httpx2.HTTPError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.info("models.none", error=type(error).__name__)
            return []

    def _read(self) -> bytes:
        headers = {"Accept-Encoding": "identity"}  # no compressed bombs
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        with (
            httpx2.Client(timeout=PATIENCE, follow_redirects=False, verify=self._tls) as client,
            client.stream("GET", self._url, headers=headers, params=self._query) as response,
        ):
            response.raise_for_status()
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > BYTES:
                    raise ValueError
            return data


def _names(data: bytes) -> list[str]:
    """The ids of a list of models: bare, or under `data` or `models`, of objects or of names."""
    listed = json.loads(data)
    if isinstance(listed, dict):
        listed = listed["data"] if "data" in listed else listed["models"]
    names = [_id(one) for one in listed] if isinstance(listed, list) else []
    return [name for name in names if 0 < len(name) <= NAME_CHARS and name.isprintable()][:MOST]


def _id(model: Any) -> str:
    """What it is asked by; "" if that is not told."""
    if isinstance(model, dict):
        model = model.get("id") or model.get("model") or model.get("name")
    return model if isinstance(model, str) else ""
