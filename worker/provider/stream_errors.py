"""Errors inside a 200 response: recognised in any shape that servers were seen to send. Pure.

What such an error means, and whether it is worth another try, is decided in refusals.py.
"""

import json
import re
from typing import Any, Final

_CODES: Final = ("code", "status", "status_code", "http_code", "error_code")
_ERROR_KEYS: Final = ("error_code", "errcode", "errorCode", "error_msg", "errmsg", "error_message")
_GOOD_CODES: Final = (None, 0, 200, "", "0", "200", "ok", "OK", "success", "Success")


def error_in(chunk: dict[str, Any]) -> Any:
    """The error that a chunk holds or is; None if there is none."""
    if chunk.get("error"):
        return chunk["error"]
    base = chunk.get("base_resp")
    if isinstance(base, dict) and base.get("status_code") not in _GOOD_CODES:
        return base
    if chunk.get("choices"):
        return None
    bad = (
        chunk.get("success") is False
        or chunk.get("ok") is False
        or "error" in (chunk.get("object"), chunk.get("type"))
        or chunk.get("status") in ("error", "failed", "fail")
        or chunk.get("errors")
        or chunk.get("detail")
        or any(chunk.get(key) not in _GOOD_CODES for key in _ERROR_KEYS)
    )
    if not bad and "choices" not in chunk and not chunk.get("object"):
        message = chunk.get("message") or chunk.get("msg")
        bad = isinstance(message, str) and bool(message)
    return chunk if bad else None


def status_in(error: Any) -> int:
    """The HTTP status that an error names; 0 if it names none."""
    inner = error.get("error") if isinstance(error, dict) else None
    for place in (error, inner):
        if isinstance(place, dict):
            codes = [str(place.get(key)) for key in _CODES]
            found = next((code for code in codes if re.fullmatch("[45][0-9]{2}", code)), None)
            if found:
                return int(found)
    return int(error) if isinstance(error, int) and 400 <= error < 600 else 0


def text_of(error: Any) -> str:
    """An error as text, to be classified."""
    try:
        return json.dumps(error, ensure_ascii=False)
    except RecursionError:
        return ""
