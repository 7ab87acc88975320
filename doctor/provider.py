"""The provider: whether it answers a question with our key, in one token."""

import json
from collections.abc import Iterator
from typing import Any, Final

import httpx2

from doctor.findings import Finding, Patient
from shared import tls
from shared.settings import Settings
from worker.provider.refusals import RequestForm, classify, error_text

#: Seconds for the answer.
SECONDS: Final = 30.0
#: Bytes of an answer that are read.
_MAX_BYTES: Final = 1 << 16

_CHECK: Final = "Check OPENAI_BASE_URL, OPENAI_API_KEY and OUTLIVE_MODEL of the worker."


def check(patient: Patient) -> Iterator[Finding]:
    """Ask as a worker would, with its environment."""
    processes = {process.name: process for process in patient.processes}
    settings = processes.get("worker", patient.web).settings
    reason = _reason(settings)
    if reason:
        yield Finding("provider", reason, _CHECK)


def _reason(settings: Settings) -> str | None:
    """Why the provider does not answer; None if it does."""
    try:
        with httpx2.Client(timeout=SECONDS, verify=tls.client_context()) as client:
            status, text = _ask(client, settings, "max_tokens")
            if status == 400 and "max_completion_tokens" in text:  # its name in newer models
                status, text = _ask(client, settings, "max_completion_tokens")
    except httpx2.HTTPError as error:
        return f"The provider cannot be reached: {type(error).__name__}."
    except (httpx2.InvalidURL, ValueError, SystemExit):
        return "The provider cannot be reached: a proxy or a certificate file cannot be used."
    if status == 200:
        return None if _is_answer(text) else "The provider answers with something else than JSON."
    found = classify(status, error_text(text), RequestForm(model=settings.model))
    return found.sentence or f"The provider answers with status {status}."


def _ask(client: httpx2.Client, settings: Settings, limit: str) -> tuple[int, str]:
    question = [{"role": "user", "content": "Say: ok"}]
    body = {"model": settings.model, "messages": question, limit: 1}
    with client.stream(
        "POST",
        f"{settings.provider_url}/chat/completions",
        params=settings.provider_query,
        headers={
            "Authorization": f"Bearer {settings.openai_api_key or 'none'}",
            "Accept-Encoding": "identity",
        },
        json=body,
    ) as response:
        data = b""
        for chunk in response.iter_raw():
            data += chunk
            if len(data) > _MAX_BYTES:
                break
        return response.status_code, data.decode(errors="replace")


def _is_answer(text: str) -> bool:
    try:
        found: Any = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and bool(found.get("choices"))
