"""Links from the reference keys of docstrings, ``[gordon23clear, Theorem 1]``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

KEYS = re.findall(r"^### (\w+)$", (Path(__file__).parent / "references.md").read_text(), re.M)
CITED = re.compile(r"\[(" + "|".join(KEYS) + r")(?=[\],;])")


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Turn every key in brackets into a link; the rest of the page stays as it is."""
    if page.file.src_uri == "references.md":
        return html
    up = "../" * page.url.count("/")
    return CITED.sub(rf'[<a href="{up}references/#\1">\1</a>', html)
