"""What the tests of commands understand of a page: else blocks would go unrun, or wrong output unseen."""

from pathlib import Path

import pytest
from page_blocks import missing_lines, read_blocks, starts_with, unfenced_commands

PAGE = """# A page

<!-- starts with: tutorial -->

<!-- not run: needs a cluster -->
```bash
kubectl apply
```

```console
$ echo one \\
    two
one two
$ true
...
last ... line
```

- in a list

    ```python title="a.py"
    print(1)
    ```

<!-- prints -->
```text
1
```

    widedeep serve models

<!-- not run: the same once more -->
    widedeep serve models
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    return file


def test_a_block_is_run_unless_the_comment_before_it_says_not(page: Path) -> None:
    blocks = read_blocks(page)
    assert [(block.language, block.is_run) for block in blocks] == [
        ("bash", False),
        ("console", True),
        ("python", True),
        ("text", False),
    ]
    assert blocks[3].comment == "prints"


def test_a_console_holds_commands_over_several_lines_and_what_they_print(page: Path) -> None:
    console = read_blocks(page)[1]
    assert console.commands() == "echo one \\\n    two\ntrue\n"
    assert console.printed() == ["one two", "last ... line"]


def test_a_block_with_a_title_is_a_file_without_the_indent_of_its_list(page: Path) -> None:
    block = read_blocks(page)[2]
    assert (block.title, block.text) == ("a.py", "print(1)\n")


def test_what_a_page_starts_with_is_told_on_it(page: Path) -> None:
    assert starts_with(page) == "tutorial"


def test_indented_commands_are_found_unless_they_say_why_they_are_not_run(page: Path) -> None:
    assert unfenced_commands(page) == ["widedeep serve models"]


def test_a_page_of_which_nothing_is_run_says_so_once(page: Path) -> None:
    page.write_text(PAGE.replace("# A page", "# A page\n\n<!-- nothing is run: needs what is not here -->"))
    assert not any(block.is_run for block in read_blocks(page))
    assert unfenced_commands(page) == []


@pytest.mark.parametrize(
    ("expected", "missing"),
    [
        (["one", "three"], []),
        (["t... e"], ["t... e"]),
        (["th...e"], []),
        (["three", "one"], ["one"]),
        (["one", "one"], ["one"]),
    ],
)
def test_shown_lines_must_be_printed_in_their_order(expected: list[str], missing: list[str]) -> None:
    assert missing_lines(expected, "one\ntwo\n  three\n") == missing
