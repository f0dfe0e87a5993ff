"""Site hook: links from a page to a file of the repository that is no page, such as `../bench/servers.py`.

On a code host such links work as they are. The site has no such file: they become links into the repository where
`repo_url` is set, else the text with the file's path after it.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>(?:\.\./)+[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Return the page with its links out of the docs folder rewritten."""
    docs = Path(config.docs_dir).resolve()
    folder = (docs / page.file.src_uri).parent

    def rewritten(match: re.Match[str]) -> str:
        target = (folder / match["target"]).resolve()
        if target.is_relative_to(docs):
            return match[0]
        path = target.relative_to(docs.parent).as_posix()
        if not target.exists():
            raise ValueError(f"{page.file.src_uri}: link to {path}, which the repository does not hold")
        if config.repo_url:
            return f"[{match['text']}]({config.repo_url.rstrip('/')}/blob/main/{path}{match['anchor'] or ''})"
        code = f"`{path}`"
        return code if match["text"].strip("`") in {path, target.name} else f"{match['text']} ({code})"

    return _LINK.sub(rewritten, markdown)
