"""A secret scan of all files in the repository, by detect-secrets: `python -m local.secret_scan`.

It searches for the keys that services give out, by their form, for private keys, for tokens, and
for what looks like a password. What is expected is listed here, with its reason, by file and kind:
a new file, or a new kind in a known file, is a finding.
"""

import fnmatch
import subprocess
import sys
from typing import Final

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

from local.processes import ROOT

#: Left out: entropy alone (ids, hashes and test texts are random by design), and addresses.
LEFT_OUT: Final = ("Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector")
#: What is expected: files, kind, why it is no secret.
EXPECTED: Final[tuple[tuple[str, str, str], ...]] = (
    ("tests/*", "Secret Keyword", "made up for tests"),
    ("tests/*", "Basic Auth Credentials", "made up for tests"),
    ("bench/*", "Secret Keyword", "made up for measurements"),
    (".env.example", "Basic Auth Credentials", "placeholders such as user:password"),
    ("drill/fleet.py", "Secret Keyword", "the scripted provider takes any key"),
    ("drill/chat_reader.py", "Secret Keyword", "what is drilled takes any key"),
    ("docs/gateway.md", "Secret Keyword", "any key will do without sign-in"),
    ("local/up.py", "Secret Keyword", "the local model takes any key"),
    ("local/secret_scan.py", "Secret Keyword", "this list"),
    ("shared/store/audit.py", "Secret Keyword", "the name of an event"),
    ("web/page/static/words/ar.json", "Secret Keyword", "what the page says of a password"),
)


def main() -> int:
    """Scan; the exit status is 1 if there is a finding."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        print("Not scanned for secrets: this is no git checkout")
        return 0
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    used, found = set(), []
    for name, line, kind in sorted(_scan(files)):
        reasons = [one for one in EXPECTED if fnmatch.fnmatch(name, one[0]) and kind == one[1]]
        used.update(reasons)
        if not reasons:
            found.append(f"{name}:{line}: {kind}")
    found += [
        f"expected, but not there: {one[1]} in {one[0]}" for one in EXPECTED if one not in used
    ]
    print("\n".join(found) or f"No secret in {len(files)} files")
    return 1 if found else 0


def _scan(files: list[str]) -> list[tuple[str, int, str]]:
    """File, line and kind of each finding; never the secret itself."""
    kinds: dict[str, type] = get_mapping_from_secret_type_to_class()
    names = {kind.__name__ for kind in kinds.values()}
    plugins = [{"name": name} for name in sorted(names.difference(LEFT_OUT))]
    with transient_settings({"plugins_used": plugins}):
        collection = SecretsCollection(root=str(ROOT))
        collection.scan_files(*files, num_processors=1)
        return [(name, secret.line_number, secret.type) for name, secret in collection]


if __name__ == "__main__":
    sys.exit(main())
