"""The provider's list of models, for the page's menu.

The list is kept for a while. If the provider has none, or does not answer in time, only the
service's own model is offered, and the answer says so (`known`: false).

Models that do not chat (embeddings, speech, pictures, moderation) are left out of the list. Some
providers say what a model is for; from the others there is only its name.
"""

import json
import re
import time
from typing import Any, Final

import gevent
import httpx2
import structlog
from gevent.lock import BoundedSemaphore

from shared import tls
from shared.settings import Settings

#: Seconds for which a list is kept, and for which a failure is; seconds for one request in all.
TTL: Final = 300.0
FAILURE_TTL: Final = 15.0
TIMEOUT: Final = 3.0
#: Bytes of a response, names in a list, and code points of a name, at most.
MAX_BYTES: Final = 1 << 20
MAX_NAMES: Final = 500
NAME_CHARS: Final = 200

#: Words in the name, or in the type, of a model that does not chat.
_OTHERS: Final = frozenset({
    "asr", "audio", "bark", "bge", "clip", "colbert", "dall", "dalle", "diffusion", "embed",
    "embedding", "embeddings", "flux", "gte", "image", "images", "imagen", "minilm", "moderation",
    "parakeet", "realtime", "rerank", "reranker", "reranking", "reward", "sdxl", "sora", "speech",
    "stt", "transcribe", "transcription", "tts", "veo", "video", "voice", "whisper",
})  # fmt: skip

log = structlog.get_logger("models")


class ModelList:
    """The models that a client may ask for."""

    def __init__(self, settings: Settings) -> None:
        self._default = settings.model
        self._url = settings.provider_url + "/models"
        self._query = settings.provider_query
        self._key = settings.openai_api_key
        self._tls = tls.client_context()
        self._names: list[str] = []
        self._expires = 0.0
        self._requesting = BoundedSemaphore()

    def listed(self) -> dict[str, Any]:
        """The models, the service's own first; `known`: whether the provider sent a list."""
        with self._requesting:
            if time.monotonic() >= self._expires:
                self._names = self._request()
                self._expires = time.monotonic() + (TTL if self._names else FAILURE_TTL)
            names = self._names
        others = sorted(set(names) - {self._default})
        items = [{"id": name} for name in [self._default, *others]]
        return {"items": items, "default": self._default, "known": bool(names)}

    def _request(self) -> list[str]:
        try:
            with gevent.Timeout(TIMEOUT, httpx2.ReadTimeout("")):
                return _names(self._read())
        except (httpx2.HTTPError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.info("models.none", error=type(error).__name__)
            return []

    def _read(self) -> bytes:
        headers = {"Accept-Encoding": "identity"}  # a compressed response could be a bomb
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        with (
            httpx2.Client(timeout=TIMEOUT, follow_redirects=False, verify=self._tls) as client,
            client.stream("GET", self._url, headers=headers, params=self._query) as response,
        ):
            response.raise_for_status()
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > MAX_BYTES:
                    raise ValueError
            return data


def _names(data: bytes) -> list[str]:
    """The models' names: a list, or one under `data` or `models`, of objects or of strings."""
    listed = json.loads(data)
    if isinstance(listed, dict):
        listed = listed["data"] if "data" in listed else listed["models"]
    chatting = [one for one in listed if chats(one)] if isinstance(listed, list) else []
    names = [_name(one) for one in chatting]
    valid = [name for name in names if 0 < len(name) <= NAME_CHARS and name.isprintable()]
    return valid[:MAX_NAMES]


def chats(model: Any) -> bool:
    """Whether one of a provider's models answers questions with text, as far as can be told."""
    words = _words(_name(model).rpartition("/")[2])
    if isinstance(model, dict):
        words |= _words(model.get("type"))  # of Together, LM Studio and others
        if _part(model, "capabilities").get("completion_chat") is False:  # Mistral's
            return False
        written = _part(model, "architecture").get("output_modalities")  # OpenRouter's
        if isinstance(written, list) and written and "text" not in written:
            return False
    return not words & _OTHERS


def _words(text: Any) -> set[str]:
    """The words of a name: `text-embedding-3-small` has `embedding`, `nomic-embed-text` `embed`."""
    return set(re.findall(r"[a-z]+", text.lower())) if isinstance(text, str) else set()


def _part(model: dict[str, Any], name: str) -> dict[str, Any]:
    found = model.get(name)
    return found if isinstance(found, dict) else {}


def _name(model: Any) -> str:
    """The name by which a model is asked for; "" if there is none."""
    if isinstance(model, dict):
        model = model.get("id") or model.get("model") or model.get("name")
    return model if isinstance(model, str) else ""
