"""Pages of the site that are not in docs/: references made from the code, and pages from other folders."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

from commands import commands_markdown
from reference import reference_markdown

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    root = Path(config.config_file_path).parent
    pages = {"reference.md": reference_markdown(), "commands.md": commands_markdown()}
    sources = _sources(root)
    for name, path in sources.items():
        pages[name] = _moved(path.read_text(encoding="utf-8"), path, name, sources, Path(config.docs_dir))
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Links of pages in docs/ that leave it: to a page made of the target, or else only its text."""
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    source = docs / page.file.src_uri
    return _moved(markdown, source, page.file.src_uri, _sources(root), docs) if source.is_file() else markdown


def _sources(root: Path) -> dict[str, Path]:
    """Pages made of files outside docs/, by their name in the site."""
    return {
        **{f"recipes/{path.parent.name}.md": path for path in sorted(root.glob("recipes/*/README.md"))},
        "recipes/results.md": root / "recipes" / "RESULTS.md",
        "benchmarks.md": root / "benchmarks" / "README.md",
        "contributing.md": root / "CONTRIBUTING.md",
        "changelog.md": root / "CHANGELOG.md",
        "security.md": root / "SECURITY.md",
    }


def _moved(text: str, source: Path, name: str, sources: dict[str, Path], docs: Path) -> str:
    """The text of a file as a page of another name, its links adapted."""
    names = {path.resolve(): page for page, path in sources.items()}

    def replace(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        if "://" in target:
            return match[0]
        path = (source.parent / target).resolve()
        page = names.get(path)
        if page is None and path.is_relative_to(docs) and path.exists():
            page = path.relative_to(docs).as_posix()
        if page is None:
            return label if path.exists() or path.parent.exists() else match[0]
        return f"[{label}]({'../' * name.count('/')}{page}{anchor})"

    return _LINK.sub(replace, text)
