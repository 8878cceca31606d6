"""Pages made when the site is built: tutorials with what they print, links from reference keys."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from rendering import rendered  # noqa: E402  (mkdocs loads this file by its path)

KEYS = re.findall(r"^### (\w+)$", (HERE / "references.md").read_text(), re.M)
CITED = re.compile(r"\[(" + "|".join(KEYS) + r")(?=[\],;])")

SCRIPTS = {"tutorials": HERE.parent / "tutorials", "gallery": HERE / "gallery"}
"""Folders of the site, and the scripts that become their pages."""


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add a page for each script, and its figures; scripts run once each time the site is built."""
    for folder, scripts in SCRIPTS.items():
        for path in sorted(scripts.glob("*.py")):
            made = rendered(path)
            files.append(File.generated(config, f"{folder}/{path.stem}.md", content=made.page))
            for name, svg in made.figures.items():
                files.append(File.generated(config, f"{folder}/{name}", content=svg))
    return files


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Turn every key in brackets into a link; the rest of the page stays as it is."""
    if page.file.src_uri == "references.md":
        return html
    up = "../" * page.url.count("/")
    return CITED.sub(rf'[<a href="{up}references/#\1">\1</a>', html)
