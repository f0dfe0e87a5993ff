"""The page docs/accuracy.md, from what bench/accuracy.py has measured: every figure and verdict is computed here."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import geometric_mean, mean, median

from accuracy_board import DEAREST, OURS, TITLES, UNLIMITED, Board, Standing
from accuracy_jobs import BEST_MEMBER, CLIP
from accuracy_results import Results
from accuracy_sets import SETS

CHEAPER = 5
"""How many times cheaper than AutoGluon's best preset prediction is to be."""
STARVED = 0.9
"""Share of its core below which the page names a job."""


def write_report(results: Results, path: Path) -> None:
    """Write the page.

    Raises:
        ValueError: no set has results of every system, or the results are of different time limits.
    """
    board = Board(results)
    parts = [_opening(board), _summary(board), _aims(board), _losses(board), _prediction(board), _training(board)]
    parts += [_made(board), _data(board), _method(board)]
    path.write_text("\n\n".join(part for part in parts if part) + "\n")


def _text(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def _item(text: str) -> str:
    return textwrap.fill(text, 120, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _by_set(board: Board, cell: Callable[[str, str], str]) -> str:
    rows = ([_set_title(name), *(cell(name, system) for system in board.systems)] for name in board.sets)
    return _table(["set", *(TITLES[system] for system in board.systems)], rows)


def _set_title(name: str) -> str:
    return f"{name} (RMSE)" if SETS[name].task == "regression" else name


def _opening(board: Board) -> str:
    return "# Accuracy\n\n" + _text(
        f"""`widedeep train` beside what one would use instead: AutoGluon Tabular with two of its presets, and
        scikit-learn's stack and soft vote of seven usual models. {len(board.sets)} real data sets that ship inside
        packages, the same training and test rows for all, {board.limit_s:g} s to train in, one core. The loss is log
        loss, or the root mean squared error of a regression, on test rows that no system has seen."""
    )


def _summary(board: Board) -> str:
    def row(system: str) -> tuple[str, ...]:
        lines = board.lines(system)
        return (
            TITLES[system],
            f"{board.mean_rank(system):.2f}",
            str(sum(board.standings[name][system].rank == 1 for name in board.sets)),
            f"{len(board.worse(system))}",
            f"{median(line['fit_cpu_s'] for line in lines):.0f} s",
            *(f"{board.us(system, batch):.1f}{_times(board, system, batch)}" for batch in ("big", "small")),
            f"{median(line['peak_mib'] for line in lines):.0f} MiB",
        )

    head = ["system", "mean rank", "best on", "worse than the best by over one standard error on", "training, CPU"]
    head += ["us of CPU a row, one big batch", "us of CPU a row, batches of 32", "memory, training"]
    return (
        _table(head, map(row, board.systems))
        + "\n\n"
        + _text(
            f"""Of {len(board.sets)} sets. Training and memory (of the largest process) are medians over them,
            microseconds geometric means, on one core; in brackets, as a multiple of widedeep's."""
        )
    )


def _times(board: Board, system: str, batch: str) -> str:
    if system == OURS or OURS not in board.systems:
        return ""
    return f" ({board.us(system, batch) / board.us(OURS, batch):.2g} times)"


def _aims(board: Board) -> str:
    if OURS not in board.systems:
        return ""
    other = min((system for system in board.systems if system != OURS), key=board.mean_rank)
    ours, theirs = board.mean_rank(OURS), board.mean_rank(other)
    worse = board.worse(OURS)
    where = ", ".join(f"{name} by {board.standings[name][OURS].errors_above:.1f}" for name in worse)
    aims = [
        f"The best mean rank: {_met(ours < theirs)}, {ours:.2f}; next is {TITLES[other]} with {theirs:.2f}.",
        "On no set worse than the best by more than one standard error: "
        + (f"{_met(False)}, worse on {len(worse)} of {len(board.sets)}: {where}." if worse else f"{_met(True)}."),
    ]
    if DEAREST in board.systems:
        aims.append(f"Prediction at least {CHEAPER} times cheaper than AutoGluon's best: {_cheaper(board)}.")
    return "## What was aimed at\n\n" + "\n".join(map(_item, aims))


def _cheaper(board: Board) -> str:
    said = []
    for batch, what in (("big", "one big batch"), ("small", "batches of 32")):
        times = {name: board.us(DEAREST, batch, name) / board.us(OURS, batch, name) for name in board.sets}
        least, most = min(times.values()), max(times.values())
        short = [name for name, each in times.items() if each < CHEAPER]
        mean_times = geometric_mean(times.values())
        said.append(
            f"{_met(mean_times >= CHEAPER)} in {what}, {mean_times:.1f} times in the mean ({least:.1f} to {most:.1f}"
            + (f"; less than {CHEAPER} on {', '.join(short)})" if short else ")")
        )
    return "; ".join(said)


def _met(yes: bool) -> str:
    return "met" if yes else "**short**"


def _losses(board: Board) -> str:
    def cell(standing: Standing) -> str:
        if standing.rank == 1:
            return f"**{standing.loss:.4g}**"
        return f"{standing.loss:.4g} ({standing.errors_above:.1f})"

    table = _by_set(board, lambda name, system: cell(board.standings[name][system]))
    return f"## Loss on the test rows\n\n{table}\n\n{_text(_LOSSES)}"


def _prediction(board: Board) -> str:
    table = _by_set(
        board, lambda name, system: " / ".join(f"{board.us(system, b, name):.1f}" for b in ("big", "small"))
    )
    return f"## Prediction, microseconds of CPU a row\n\n{table}\n\n{_text(_PREDICTION)}"


def _training(board: Board) -> str:
    def cell(name: str, system: str) -> str:
        lines = board.lines(system, name)
        return f"{mean(x['fit_s'] for x in lines):.0f} s, {mean(x['fit_cpu_s'] for x in lines):.0f} s CPU"

    lines = [line for system in board.systems for line in board.lines(system)]
    limited = [line for line in lines if line["system"] not in UNLIMITED]
    starved = [line for line in limited if line["fit_cpu_s"] < STARVED * line["fit_s"]]
    said = ", ".join(f"{x['system']} on {x['set']} {x['fit_cpu_s'] / x['fit_s']:.0%}" for x in starved)
    twice = ", ".join(line["set"] for line in lines if line["about"].get("second_try"))
    text = _TRAINING.format(limit=board.limit_s, least=STARVED, starved=said or "none")
    text += _TWICE.format(sets=twice) if twice else ""
    return f"## Training\n\n{_by_set(board, cell)}\n\n{_text(text)}"


def _made(board: Board) -> str:
    if OURS not in board.systems:
        return ""
    rows = []
    for name in board.sets:
        line = board.lines(OURS, name)[0]
        about, alone = line["about"], line["parts"][BEST_MEMBER]
        gain = f"{line['loss'] / alone - 1:+.1%}"
        used = ", ".join(about["used"])
        rows.append((_set_title(name), f"{alone:.4g}", gain, str(about["trials"]), str(about["combiner"]), used))
    head = ["set", "its best member alone", "ensemble against it", "trials", "combiner", "members that count"]
    text = "Of the first split. The best member is the one with the least out-of-fold loss."
    return f"## What `widedeep train` made\n\n{_table(head, rows)}\n\n{text}"


def _data(board: Board) -> str:
    rows = []
    for name in board.sets:
        data, line = SETS[name], board.lines(board.systems[0], name)[0]
        task = f"{line['n_classes']} classes" if line["n_classes"] else "regression"
        columns = f"{line['n_numbers']} numbers" + (f", {line['n_words']} of words" if line["n_words"] else "")
        about = data.about + (f"; {line['n_missing']} values missing" if line["n_missing"] else "")
        package = f"{data.package} {data.version()}"
        rows.append((name, package, data.licence, f"{line['n_train']} + {line['n_test']}", columns, task, about))
    head = ["set", "package", "licence", "rows, training + test", "columns", "task", "what"]
    return "## Data\n\n" + _table(head, rows)


def _method(board: Board) -> str:
    lines = [line for system in board.systems for line in board.lines(system)]
    versions = {name: version for line in lines for name, version in line["about"]["versions"].items()}
    facts = [f"{name}: {value}" for name, value in board.results.machine().items() if name != "versions"]
    facts.append("versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())))
    commands = [
        "prepare",
        f"run --limit {board.limit_s:g} --splits {board.n_splits} --cores {','.join(map(str, board.cores))}",
        "report",
    ]
    return "\n\n".join(
        [
            "## How it was measured",
            "\n".join(f"    .venv/bin/python bench/accuracy.py {command}" for command in commands),
            "\n".join(map(_item, facts)),
            _text(_METHOD.format(clip=CLIP)),
            _text(_MEMBERS),
            _text(
                f"""{"One split" if board.n_splits == 1 else f"{board.n_splits} splits"} and {board.limit_s:g} s a set:
                differences of less than a standard error are noise, the standard errors do not hold what another split
                or seed would change, and longer limits can change the order. {_left_out(board)}"""
            ),
        ]
    )


def _left_out(board: Board) -> str:
    if not board.left_out:
        return ""
    why = "; ".join(f"{line['system']} on {line['set']}: {line['error']}" for line in board.failed)
    sets = ", ".join(f"{name} (split {seed})" for name, seed in board.left_out)
    return f"Not in the tables, since not every system has a result: {sets}." + (f" Failed: {why}" if why else "")


_LOSSES = """The least is bold. In brackets, how many standard errors a loss lies above it; the error is that of the
paired difference over the test rows, so a figure below 1 says little."""

_PREDICTION = """One big batch (the test rows, repeated to 2,000 at least) / batches of 32 rows; from a pandas table to
the scores, in one thread, medians over calls; CPU time, which is the wall time where nothing else runs on the core.
AutoGluon's models are kept in memory (`persist`); widedeep's bundle runs in onnxruntime, binding of the columns and
checks of the values included."""

_TRAINING = """Only `widedeep train` and AutoGluon take a time limit, {limit:g} s here. widedeep's time is that of the
whole command: start, imports, search, export, proof and bundle; AutoGluon's begins after its imports. A job whose CPU
time is below its wall time waited or shared its core, which harms those with a limit; of these less than {least:.0%} of
their core used: {starved}."""

_TWICE = """ On {sets} the training of AutoGluon's best preset ended in an error, since no model came ready in the time
of its dynamic stacking; it was trained again without, in a new limit, and its time is that of both."""

_METHOD = """Each set is cut once a split into 75 % training and 25 % test rows, classes alike in both. Every job is a
process pinned to one core, and each core has one job at a time; sets follow one another, and on each set another system
begins. Targets of classifications are given as words. Probabilities are raised to {clip:g} and scaled to sum to one
before the log loss, for every system alike. AutoGluon gets `eval_metric` log_loss or root_mean_squared_error,
`num_cpus=1` and the limit as `time_limit`, all else as its presets have it. Its best preset is made for hours and many
cores; with so little time it is not always better than its medium one. Without Ray its folds train one after another,
which on one core they do in any case."""

_MEMBERS = """scikit-learn combines XGBoost, LightGBM and histogram gradient boosting with 100 rounds at a rate of 0.1,
random forest and extra trees of 300 trees, logistic or ridge regression, and a multilayer perceptron of 64 units with
early stopping (bench/accuracy_members.py): usual settings, no search, no time limit."""
