"""Site hook: writes what pages of the reference take from the code itself.

    <!-- generated: commands -->     every command with all its flags, from the parsers themselves
    <!-- generated: settings -->     every setting of the server: flag, variable, key, default, meaning

A command makes its parser when it is called; so it is called, and stopped where it would parse.
"""

import argparse
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from unittest import mock

_MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


class _Parsed(Exception):
    """Carries a command's parser out of the command."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__(parser.prog)
        self.parser = parser


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page with its marks replaced by what they name."""
    writers = {"commands": commands, "settings": settings}
    return _MARK.sub(lambda match: writers[match[1]](), markdown)


def commands() -> str:
    """Return a section for each command that is installed."""
    points = sorted(entry_points(group="widedeep.commands"), key=lambda point: point.name)
    return "\n\n".join(section(point) for point in points)


def section(point: EntryPoint) -> str:
    """Return one command's section: what it does, its usage, its arguments by group."""
    parser = parser_of(point)
    lines = [f"## widedeep {point.name}", "", _escaped(parser.description or "")]
    if point.extras:
        lines += ["", f"Needs `pip install 'widedeep[{','.join(point.extras)}]'`."]
    lines += ["", "```text", _usage(parser), "```"]
    for group in parser._action_groups:
        rows = list(_rows(group._group_actions))
        if rows:
            lines += ["", f"**{(group.title or '').capitalize()}**", "", "| argument | meaning |", "|---|---|", *rows]
    return _without_home("\n".join(lines))


def parser_of(point: EntryPoint) -> argparse.ArgumentParser:
    """Return the parser that a command makes."""

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _Parsed(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            point.load()([])
        except _Parsed as parsed:
            return parsed.parser
    raise RuntimeError(f"command {point.name} parses no arguments")


def settings() -> str:
    """Return the table of the server's settings."""
    from pydantic_core import PydanticUndefined
    from widedeep.serving.settings import ServeSettings

    rows = []
    for name, field in ServeSettings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        default = "" if default is PydanticUndefined or default in ("", {}) else default
        shown = {True: "on", False: "off"}.get(default, default) if isinstance(default, bool) else default
        rows.append(
            f"| `--{name.replace('_', '-')}`<br>`WIDEDEEP_{name.upper()}`<br>`{name}` "
            f"| {f'`{shown}`' if shown != '' else ''} | {_cell(field.description or '')} |"
        )
    head = ["| flag, variable, key in TOML | default | meaning |", "|---|---|---|"]
    return _without_home("\n".join([*head, *rows]))


def _usage(parser: argparse.ArgumentParser) -> str:
    """Return the usage in lines of a page's width, whatever the terminal's is."""
    with mock.patch.dict("os.environ", {"COLUMNS": "90", "NO_COLOR": "1"}):
        return parser.format_usage().strip()


def _rows(actions: list[argparse.Action]) -> Iterator[str]:
    for action in actions:
        if action.help is argparse.SUPPRESS:
            continue
        value = "" if action.nargs == 0 else action.metavar or _choices(action) or action.dest.upper()
        if isinstance(action, argparse.BooleanOptionalAction):
            value = ""
        names = ", ".join(f"`{option}{f' {value}' if value else ''}`" for option in action.option_strings)
        meaning = (action.help or "") % {**vars(action), "prog": "widedeep"} if action.help else ""
        if action.choices and action.metavar is None and not action.option_strings:
            meaning += f" ({_choices(action)})"
        if action.required and action.option_strings:
            meaning += " (required)"
        yield f"| {names or f'`{value}`'} | {_cell(meaning)} |"


def _choices(action: argparse.Action) -> str:
    return "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|").replace("\n", " ")


def _escaped(text: str) -> str:
    """Return text in which `<model>` is no tag; what stands in backticks is left as it is."""
    parts = text.split("`")
    return "`".join(part if i % 2 else part.replace("<", "&lt;").replace("*", "\\*") for i, part in enumerate(parts))


def _without_home(text: str) -> str:
    return text.replace(str(Path.home()), "~")
