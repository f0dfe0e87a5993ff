"""Reads the fenced blocks of a page, and what a page says about how they are run.

What is run, in the order of the page, all in one folder, one shell and one Python:

    ```bash        commands; the first that fails ends the page
    ```console     `$ command` lines, and lines that they print; these must come in this order, other lines may come
                   between; `...` in a line stands for any text
    ```python      runs in the page's one Python session
    ```LANG title="NAME"    is written to the file NAME instead
    ```text after `<!-- prints -->`     lines that the block before must print, as in `console`

What is said in comments of their own before a block, or anywhere on the page for the last two:

    <!-- not run: REASON -->            the block is not run; there must be a reason
    <!-- nothing is run: REASON -->     no block of the page is run
    <!-- starts with: WHAT -->          what lies in the folder at first: `tutorial`, what that page leaves, or `demo`

Blocks of other languages (toml, json, text, yaml ...) or of none, without a title, are shown only.
"""

import re
from dataclasses import dataclass
from pathlib import Path

RUN = ("bash", "console", "python")
SHOWN = ("dockerfile", "go", "html", "ini", "java", "javascript", "json", "promql", "protobuf", "text", "toml", "yaml")

_COMMAND_WORDS = ("$ ", "curl ", "docker ", "helm ", "kubectl ", "make ", "pip ", "python ", "widedeep ")
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S
)
_TITLE = re.compile(r'title="([^"]+)"')
_COMMENT = re.compile(r"<!--\s*(?P<text>(?:(?!-->).)*?)\s*-->\s*\Z", re.S)
_NOTHING = re.compile(r"<!-- nothing is run: .{10,} -->")
_STARTS_WITH = re.compile(r"<!-- starts with: (\w+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        line: where it begins in its page.
        language: the first word after the ticks.
        title: the file that it is written to, or "".
        text: what it holds.
        comment: the comment right before it, or "".
    """

    line: int
    language: str
    title: str
    text: str
    comment: str

    @property
    def is_run(self) -> bool:
        """Whether the block is run or written."""
        return not self.comment.startswith("not run") and (self.language in RUN or bool(self.title))

    @property
    def holds_commands(self) -> bool:
        """Whether a line looks like a command."""
        return any(line.strip().startswith(_COMMAND_WORDS) for line in self.text.splitlines())

    def commands(self) -> str:
        """Return what a shell, or Python, is given."""
        if self.language != "console":
            return self.text
        lines = self.text.splitlines()
        commands, goes_on = [], False
        for line in lines:
            if line.startswith("$ ") or goes_on:
                commands.append(line.removeprefix("$ ") if line.startswith("$ ") else line.removeprefix("> "))
                goes_on = line.endswith("\\")
        return "\n".join(commands) + "\n"

    def printed(self) -> list[str]:
        """Return the lines that the block shows as printed."""
        if self.language != "console":
            return []
        shown, goes_on = [], False
        for line in self.text.splitlines():
            if line.startswith("$ ") or goes_on:
                goes_on = line.endswith("\\")
            elif line.strip() not in {"", "..."}:
                shown.append(line)
        return shown


def read_blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text()
    blocks = []
    for match in _FENCE.finditer(text):
        indent = len(match["indent"])
        before = _COMMENT.search(text[: match.start()].rstrip("\n")) if text[: match.start()].strip() else None
        title = _TITLE.search(match["info"])
        blocks.append(
            Block(
                line=text.count("\n", 0, match.start()) + 1,
                language=match["info"].split()[0].lower() if match["info"].split() else "",
                title=title[1] if title else "",
                text="".join(line[indent:] for line in match["body"].splitlines(keepends=True)),
                comment="not run: nothing of the page is"
                if _NOTHING.search(text)
                else before["text"]
                if before
                else "",
            )
        )
    return blocks


def starts_with(page: Path) -> str:
    """Return what lies in the folder that a page begins in, "" for nothing."""
    found = _STARTS_WITH.search(page.read_text())
    return found[1] if found else ""


_INDENTED = re.compile(r"(?:(?<=\n\n)|(?<=-->\n))(?: {4}[^\n]*\n(?:\n(?= {4}))*)+")


def unfenced_commands(page: Path) -> list[str]:
    """Return the first lines of indented blocks that hold commands, which no test runs, and do not say why."""
    text = _FENCE.sub("", page.read_text())
    if _NOTHING.search(text):
        return []
    at_fault = []
    for match in _INDENTED.finditer(text):
        lines = match[0].splitlines()
        comment = _COMMENT.search(text[: match.start()].rstrip("\n"))
        is_excused = comment is not None and comment["text"].startswith("not run: ")
        if not is_excused and any(line.strip().startswith(_COMMAND_WORDS) for line in lines):
            at_fault.append(lines[0].strip())
    return at_fault


def missing_lines(expected: list[str], output: str) -> list[str]:
    """Return the first expected line that the output does not hold after the one before it, or nothing."""
    lines = iter(output.splitlines())
    for one in expected:
        pattern = re.compile(".*".join(map(re.escape, one.strip().split("..."))))
        if not any(pattern.fullmatch(line.strip()) for line in lines):
            return [one]
    return []
