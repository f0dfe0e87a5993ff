"""Every command and every piece of Python that the documentation shows is run, as `page_blocks` says, in a new folder.

Ports that pages use are the usual ones, so each page runs in a network namespace of its own, which needs root.
Existing runners of documentation do not fit: mktestdocs and pytest-codeblocks start a new process for a block, or
match no output; pytest-examples and Sybil run Python only; byexample wants a prompt before each line. None runs a shell
with a server behind it and Python beside it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from page_blocks import RUN, SHOWN, Block, missing_lines, read_blocks, starts_with, unfenced_commands

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Written by programs of bench/: the commands there are those programs, which measure for hours.
RECORDS = {DOCS / f"{name}.md" for name in ("accuracy", "batch_benchmarks", "benchmarks", "convolutions", "samplers")}
PAGES = [ROOT / "README.md", *sorted(set(DOCS.rglob("*.md")) - RECORDS)]
TIME_LIMIT_S = 240


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def steps_of(blocks: list[Block]) -> list[Block]:
    return [block for block in blocks if block.is_run]


RUNNABLE = [page for page in PAGES if steps_of(read_blocks(page))]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_is_run_or_says_why_not(page: Path) -> None:
    at_fault = [f"indented, so that no test runs it: {line.strip()}" for line in unfenced_commands(page)]
    for block in read_blocks(page):
        if block.language not in (*RUN, *SHOWN, "") and not block.title:
            at_fault.append(f"line {block.line}: language {block.language!r}; expected one of {RUN + SHOWN}")
        if block.comment.startswith("not run") and len(block.comment.removeprefix("not run").strip(" :")) < 10:
            at_fault.append(f"line {block.line}: not run, without a reason")
        if block.language in {"", "text"} and block.holds_commands and not block.comment.startswith("not run"):
            at_fault.append(f"line {block.line}: commands that no test runs; say `bash` or `console`")
        if block.language == "console" and not block.commands().strip():
            at_fault.append(f"line {block.line}: no line begins with `$ `")
    assert at_fault == []


@pytest.mark.slow
@pytest.mark.timeout(2 * TIME_LIMIT_S)
# Of the demo, which some pages start with: TensorFlow and Keras, on their own use of numpy and of each other.
@pytest.mark.filterwarnings("default:::(tensorflow|keras|numpy).*")
@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_commands_of_a_page_do_what_it_shows(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not can_unshare():
        pytest.skip("pages run in a network namespace of their own, which this user may not make")
    if page == DOCS / "tutorial.md":
        request.getfixturevalue("after_tutorial")
        return
    match starts_with(page):
        case "tutorial":
            shutil.copytree(request.getfixturevalue("after_tutorial"), tmp_path, dirs_exist_ok=True)
        case "demo":
            shutil.copytree(request.getfixturevalue("demo")[0], tmp_path / "demo")
        case other:
            assert other == "", f"{page} starts with {other!r}; expected tutorial or demo"
    run_page(page, tmp_path)


@pytest.fixture(scope="module")
def after_tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the tutorial leaves; making it is the tutorial's test."""
    run_page(DOCS / "tutorial.md", folder := tmp_path_factory.mktemp("tutorial"))
    return folder


@cache
def can_unshare() -> bool:
    tried = shutil.which("unshare") and subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
    return bool(tried) and tried.returncode == 0


def environment(folder: Path) -> dict[str, str]:
    """Return the variables that pages see: this interpreter's commands, a home of their own, no settings of ours."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WIDEDEEP_")}
    home = folder.with_name(f"{folder.name}.home")
    home.mkdir(exist_ok=True)
    return ours | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{ours['PATH']}",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }


def run_page(page: Path, folder: Path) -> None:
    """Run a page's steps in the folder.

    Raises:
        AssertionError: a step failed, or did not print what the page shows.
    """
    blocks = read_blocks(page)
    steps = []
    for block in steps_of(blocks):
        if block.title:
            code = f"mkdir -p $(dirname {block.title}) && cat > {block.title} <<'END_OF_FILE'\n{block.text}END_OF_FILE"
            steps.append({"language": "bash", "code": code})
        else:
            language = "python" if block.language == "python" else "bash"
            steps.append({"language": language, "code": block.commands()})
    outcomes = outcomes_of(steps, folder)
    output = ""
    for block in blocks:
        if block.is_run:
            assert outcomes, f"{name_of(page)}, line {block.line}: not reached"
            outcome = outcomes.pop(0)
            output = outcome["output"]
            where = f"{name_of(page)}, line {block.line}"
            assert outcome["status"] == 0, f"{where}: status {outcome['status']}\n{block.text}\n{output}"
            missing = missing_lines(block.printed(), output)
            assert missing == [], f"{where}: did not print {missing[0]!r} in its place, but\n{output}"
        elif block.comment == "prints":
            missing = missing_lines([line for line in block.text.splitlines() if line.strip(" .")], output)
            assert missing == [], f"{name_of(page)}, line {block.line}: {missing[0]!r} was not printed, but\n{output}"


def outcomes_of(steps: list[dict[str, str]], folder: Path) -> list[dict]:
    command = ["unshare", "--net", sys.executable, str(Path(__file__).with_name("run_page.py"))]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        output, _ = process.communicate(json.dumps(steps), timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired as late:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        said = (late.stdout or b"").decode() if isinstance(late.stdout, bytes) else late.stdout
        raise AssertionError(f"not at its end after {TIME_LIMIT_S} s; so far:\n{said}") from None
    return [json.loads(line) for line in output.splitlines()]
