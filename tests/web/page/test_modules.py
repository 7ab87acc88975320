"""The page's modules fit together: there is no build that would notice."""

import re
from pathlib import Path

from web import views

STATIC = Path(views.__file__).parent / "page/static"
_EXPORTED = re.compile(r"export (?:async )?(?:function|const|class|let) (\w+)")
_EXPORT_LIST = re.compile(r"export \{([^}]*)\}")
_IMPORTED = re.compile(r"import \{([^}]*)\} from \"\./([\w.-]+)\"")


def _names(listed: str) -> set[str]:
    return {one.split(" as ")[0].strip() for one in listed.split(",") if one.strip()}


def test_every_name_that_a_module_imports_is_exported() -> None:
    texts = {path.name: path.read_text("utf-8") for path in STATIC.glob("*.js")}
    exported = {
        name: set(_EXPORTED.findall(text)).union(*map(_names, _EXPORT_LIST.findall(text)))
        for name, text in texts.items()
    }

    missing = [
        f"{name}: {one} of {other}"
        for name, text in texts.items()
        for listed, other in _IMPORTED.findall(text)
        for one in _names(listed) - exported.get(other, set())
    ]

    assert missing == []
