"""What the site needs beyond the pages: README, CHANGELOG and the examples' page, links out of docs/ to the repository, and
code with `|` in tables.

mkdocs calls these functions (`hooks` of .mkdocs.yml).
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "examples/README.md": "examples.md"}
CODE = re.compile(r"<code>[^<]*</code>")
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to pages of the site where there is one, else to the repository."""
    sources = {page: source for source, page in ELSEWHERE.items()}
    folder = posixpath.dirname(sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[2]))
        inside = ELSEWHERE.get(target, target.removeprefix("docs/") if target.startswith("docs/") else None)
        if inside is not None and files.get_file_from_path(inside) is not None:
            return match[1] + posixpath.relpath(inside, posixpath.dirname(page.file.src_uri) or ".")
        if (ROOT / target).exists():
            return f"{match[1]}{config.repo_url}/blob/main/{target}"
        return match[0]  # mkdocs reports it

    return LINK.sub(moved, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show `|` in code in a table, which has to be written with a backslash: GitHub removes it, Python-Markdown does not."""
    return re.sub(
        r"<td>.*?</td>", lambda cell: CODE.sub(lambda code: code[0].replace(r"\|", "|"), cell[0]), html, flags=re.S
    )
