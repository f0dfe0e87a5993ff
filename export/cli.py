"""Commands of the `export` extra; they join `widedeep` through its entry-point group."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def demo(argv: Sequence[str]) -> int:
    """Train, export, prove, weigh, serve and call an ensemble on real digits."""
    parser = argparse.ArgumentParser(prog="widedeep demo", description=demo.__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write to (default: demo)")
    parser.add_argument("--port", type=int, default=8001, help="port to serve at; another if taken (default: 8001)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split and of all training (default: 0)")
    parser.add_argument("--fresh", action="store_true", help="train again even if the output is up to date")
    arguments = parser.parse_args(argv)
    from .demo.run import run_demo

    run_demo(arguments.output, port=arguments.port, seed=arguments.seed, fresh=arguments.fresh)
    return 0
