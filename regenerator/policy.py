"""What a browser lets a page of ours do, in a header. Pure.

Should a name from the registry ever get into a page as markup, it still starts nothing: styles and
scripts are taken by their digests alone.
"""

import base64
import hashlib
from collections.abc import Iterable


def content_security_policy(*, styles: Iterable[str], scripts: Iterable[str]) -> str:
    """The value of ``Content-Security-Policy`` for a page with these styles and scripts in it.

    Args:
        styles: Each as it stands between ``<style>`` and ``</style>``, to the byte.
        scripts: Each as it stands between ``<script>`` and ``</script>``.

    Source:
        CSP level 3, sections 6.1 and 6.7.3.3: a digest is that of the element's own text.
    """
    rules = ["default-src 'none'"]
    for name, texts in (("style-src", styles), ("script-src", scripts)):
        if digests := " ".join(dict.fromkeys(map(_digest, texts))):
            rules.append(f"{name} {digests}")
    rules += [
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
    return "; ".join(rules)


def _digest(text: str) -> str:
    found = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(found).decode()}'"
