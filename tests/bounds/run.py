"""Run serving's tests with the oldest and the newest releases that pyproject.toml's bounds allow.

    python tests/bounds/run.py [--python 3.13] [lowest] [highest] [-- PYTEST ARGUMENTS]

Each gets an environment of its own under build/bounds, made by uv from the extras that serving and export need. Tests
that need training libraries are not run, nor in either environment what its `Side` names, for the reason given there.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "bounds"
EXTRAS = ("native", "batch", "export", "tracing", "remote")
TOOLS = ("grpcio-tools", "hpack", "hypothesis", "pillow", "pytest", "pytest-asyncio", "pytest-timeout", "trustme")
TESTS = ("tests/unit/serving", "tests/integration/serving", "tests/integration/client")
UV = (sys.executable, "-m", "uv", "--quiet", "--no-config")


@dataclass(frozen=True, slots=True)
class Side:
    """One end of the bounds.

    Attributes:
        resolution: as uv calls it.
        tools: that tests need besides.
        without: words of test files that are left out: what they need is no dependency of ours.
        deselected: parts of the names of tests that are left out.
    """

    resolution: str
    tools: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    deselected: tuple[str, ...] = ()


SIDES = {
    "lowest": Side(
        "lowest-direct",
        ("tritonclient[grpc]",),
        # The descriptors' `is_repeated`, by which the generator and the comparison with Triton's messages go, came with
        # protobuf 6.31; serving does not read it.
        ("is_repeated", "protos/generate.py", "import generate"),
        (
            # scikit-learn takes `labels` for the Brier score from 1.7 on; the score itself is computed here.
            "test_log_loss_accuracy_and_brier_score_are_those_of_scikit_learn",
            # pyarrow before 26 does not write or read Parquet with gaps in lists of fixed size, and says so.
            "test_columns_of_every_kind_come_as_they_are",
            "test_a_part_has_the_same_bytes_however_its_rows_are_cut",
            "test_a_parquet_part_has_the_rows_the_schema_and_the_bundle",
            "test_a_part_of_no_rows_can_be_read",
        ),
    ),
    # tritonclient needs protobuf below 7.
    "highest": Side("highest", (), ("tritonclient", "triton_calls")),
}
NOT_HERE = ("object_store", "sklearn.datasets", "tensorflow", "mlxtend", "pyspark", "import ray")


def main() -> int:
    """Return the status of the first end that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sides", nargs="*", default=list(SIDES), help="lowest, highest or both (default)")
    parser.add_argument("--python", default=sys.executable, help="interpreter, or its version")
    own, pytest_arguments = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, pytest_arguments = own[:at], own[at + 1 :]
    arguments = parser.parse_args(own)
    for name in arguments.sides:
        if (status := run(name, SIDES[name], arguments.python, pytest_arguments)) != 0:
            return status
    return 0


def run(name: str, side: Side, interpreter: str, pytest_arguments: list[str]) -> int:
    """Make one environment and return what pytest says in it."""
    environment = FOLDER / name
    python, lock = environment / "bin" / "python", FOLDER / f"{name}.txt"
    FOLDER.mkdir(parents=True, exist_ok=True)
    uv("venv", "--clear", "--python", interpreter, str(environment))
    extras = [argument for extra in EXTRAS for argument in ("--extra", extra)]
    resolution = ["--resolution", side.resolution, "--python", str(python), "--output-file", str(lock)]
    uv("pip", "compile", *resolution, *extras, "pyproject.toml")
    uv("pip", "install", "--python", str(python), "--requirement", str(lock), "--no-deps", "--editable", ".")
    uv("pip", "install", "--python", str(python), "--constraint", str(lock), *TOOLS, *side.tools)
    sys.stdout.write(f"== {name}: {' '.join(word for word in lock.read_text().split() if '==' in word)}\n")
    sys.stdout.flush()
    deselected = " or ".join(side.deselected)
    command = [str(python), "-m", "pytest", "-q", *left_out(side), *pytest_arguments, *TESTS]
    if deselected:
        command[4:4] = ["-k", f"not ({deselected})"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def left_out(side: Side) -> list[str]:
    """Return pytest's arguments that leave files out by what they hold."""
    words = (*side.without, *NOT_HERE)
    files = [path for folder in TESTS for path in (ROOT / folder).rglob("test_*.py")]
    return [f"--ignore={path.relative_to(ROOT)}" for path in files if any(word in path.read_text() for word in words)]


def uv(*arguments: str) -> None:
    subprocess.run([*UV, *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
