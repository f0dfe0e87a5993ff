"""What the project sets itself, each judged by the medians of one run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .results import Figure, Record, Results, ratios
from .rounds import DIGITS, QUEUE_CALLS

PYTHON_TO_BEST = 1624 / 1320
"""Rows/s of Triton's fastest form over those of its Python backend on the seed workload at 1 row x 16, measured earlier
on the same kind of machine: its C++ onnxruntime backend is not in the wheel, so its Python backend stands for it."""
PYTHON_TO_FUSED_P50 = 0.28 / 0.53
"""p50 of Triton with one fused graph over that of its Python backend, tiny workload, 1 row x 1; as above."""

_NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and how it went.

    Attributes:
        target: what is measured against what.
        form: the form of widedeep that is judged; empty where they do not differ.
        got: the figure, or why there is none.
        met: whether it is met; None if it was not measured.
    """

    target: str
    form: str
    got: str
    met: bool | None


def verdicts(results: Results) -> list[Verdict]:
    """Judge every target."""
    return [verdict for judge in _TARGETS for verdict in judge(results)]


def _forms(results: Results, which: str = "") -> list[str]:
    """Return the forms of widedeep that were measured, those of one front end only if it is named."""
    measured = [name for name in results.names("contender") if name.startswith("widedeep-")]
    return [name for name in measured or ["widedeep-grpcio", "widedeep-native"] if which in name]


def _against_triton(results: Results) -> Iterator[Verdict]:
    native, grpcio = 1.5 * PYTHON_TO_BEST, PYTHON_TO_BEST
    beside = "those of Triton's Python backend"
    for form in _forms(results, "native"):
        yield _ratio(
            results,
            f"seed, 1 row x 16: rows/s at least {native:.2f} times {beside}, which is 1.5 times Triton's fastest form",
            (form, "triton", "seed", "1x16", "rows_per_s"),
            lambda r: r >= native,
        )
        yield _ratio(
            results,
            "seed, 1 row x 16: p99 below that of Triton's Python backend",
            (form, "triton", "seed", "1x16", "p99_us"),
            lambda r: r < 1,
        )
        yield _ratio(
            results,
            f"tiny, 1 row x 16: rows/s at least {beside}",
            (form, "triton", "tiny", "1x16", "rows_per_s"),
            lambda r: r >= 1,
        )
    for form in _forms(results, "grpcio"):
        yield _ratio(
            results,
            f"seed, 1 row x 16: rows/s at least {grpcio:.2f} times {beside}, which is Triton's fastest form",
            (form, "triton", "seed", "1x16", "rows_per_s"),
            lambda r: r >= grpcio,
        )


def _against_bare(results: Results) -> Iterator[Verdict]:
    target = "seed, 64 rows x 4: rows per CPU-second of all its processes at least 0.9 of bare onnxruntime's"
    for form in _forms(results):
        ours = results.find("seed", "64x4", form, "perf_analyzer")
        found = ratios(results.find("seed", "64x4", "bare"), ours, "cpu_us_per_row")
        yield _judged(target, form, found, "{:.2f} of it", lambda r: r >= 0.9)


def _against_floor(results: Results) -> Iterator[Verdict]:
    target = "tiny, 1 row x 16: CPU of a call at most 1.1 times that of an empty grpcio handler plus bare onnxruntime"
    bare = results.figure("cpu_us_per_call", "tiny", "1x16", "bare")
    floor = results.find("tiny", "1x16", "floor", "perf_analyzer")
    least = [_with(record, cpu=record.values["cpu_us_per_call"] + bare.median) for record in floor if bare]
    for form in _forms(results, "grpcio"):
        ours = results.find("tiny", "1x16", form, "perf_analyzer")
        cost = [_with(record, cpu=record.values["cpu_us_per_call"]) for record in ours]
        yield _judged(target, form, ratios(cost, least, "cpu"), "{:.2f} times", lambda r: r <= 1.1)


def _single_call(results: Results) -> Iterator[Verdict]:
    target = (
        "tiny, 1 row x 1: p50 at most 100 us over that of Triton with one fused graph, taken as "
        f"{PYTHON_TO_FUSED_P50:.2f} of its Python backend's"
    )
    triton = results.figure("p50_us", "tiny", "1x1", "triton", "perf_analyzer")
    for form in _forms(results):
        ours = results.figure("p50_us", "tiny", "1x1", form, "perf_analyzer")
        if not (ours and triton):
            yield Verdict(target, form, _NOT_MEASURED, None)
            continue
        limit = triton.median * PYTHON_TO_FUSED_P50 + 100
        yield Verdict(target, form, f"{ours.median:,.0f} us of {limit:,.0f} us", ours.median <= limit)


def _against_python_servers(results: Results) -> Iterator[Verdict]:
    for name, title in (("mlserver", "MLServer"), ("ray", "Ray Serve")):
        for form in _forms(results):
            yield _ratio(
                results,
                f"tiny, 1 row x 16: rows/s at least 3 times those of {title}, same client",
                (form, name, "tiny", "1x16", "rows_per_s"),
                lambda r: r >= 3,
                client="caller",
            )


def _overload(results: Results) -> Iterator[Verdict]:
    for workload in ("seed", "tiny", "wide"):
        what = f"{workload}, Poisson at 120 % of capacity"
        for form in _forms(results):
            records = results.find(workload, "open120", form)
            peak = [_with(record, rows_per_s=record.values["capacity"]) for record in records]
            kept = ratios(records, peak, "rows_per_s")
            yield _judged(
                f"{what}: throughput at least 0.95 of the peak", form, kept, "{:.2f} of it", lambda r: r >= 0.95
            )
            yield _refusals(results, what, workload, form)
            p99 = results.figure("p99_us", workload, "open120", form)
            capacity = results.figure("capacity", workload, "open120", form)
            target = f"{what}: p99 of accepted calls at most a tenth over what {QUEUE_CALLS:,} waiting calls take"
            if p99 and capacity:
                took, limit = p99.median / 1000, 1.1 * QUEUE_CALLS / capacity.median * 1000
                yield Verdict(target, form, f"{took:,.0f} ms of {limit:,.0f} ms", took <= limit)
            else:
                yield Verdict(target, form, _NOT_MEASURED, None)


def _refusals(results: Results, what: str, workload: str, form: str) -> Verdict:
    target = f"{what}: the excess is refused at once (RESOURCE_EXHAUSTED, median within 10 ms), nothing else fails"
    failed, refused, share = (
        results.figure(value, workload, "open120", form) for value in ("failed", "refused_p50_us", "refused_share")
    )
    if not (failed and share):
        return Verdict(target, form, _NOT_MEASURED, None)
    took = f" in {refused.median / 1000:.1f} ms" if refused else ""
    got = f"{share.median:.0%} refused{took}, {failed.high:.0f} calls failed otherwise"
    return Verdict(target, form, got, failed.high == 0 and (refused is None or refused.median <= 10_000))


def _members(results: Results) -> Iterator[Verdict]:
    target = "200 members x 64 rows: less than 30 us of Python a member"
    found = results.figure("python_us_per_member", "many200", "members64", "widedeep")
    yield _judged(target, "", found, "{:.1f} us", lambda us: us < 30)


def _resources(results: Results) -> Iterator[Verdict]:
    for form in _forms(results):
        ready = results.figure("ready_s", DIGITS, "start", form)
        yield _judged(
            "the demo's bundle: first answer within 2 s of process start", form, ready, "{:.2f} s", lambda s: s <= 2
        )
        for when, title in (("idle_mb", "idle"), ("loaded_mb", "after load")):
            memory = results.figure(when, DIGITS, "start", form)
            yield _judged(
                f"the demo's bundle: server under 200 MB {title}", form, memory, "{:.0f} MB", lambda mb: mb < 200
            )


_TARGETS: tuple[Callable[[Results], Iterator[Verdict]], ...] = (
    _against_triton,
    _against_bare,
    _against_floor,
    _single_call,
    _against_python_servers,
    _overload,
    _members,
    _resources,
)


def _ratio(
    results: Results,
    target: str,
    what: tuple[str, str, str, str, str],
    holds: Callable[[float], bool],
    client: str = "perf_analyzer",
) -> Verdict:
    ours, theirs, workload, load, value = what
    found = ratios(results.find(workload, load, ours, client), results.find(workload, load, theirs, client), value)
    return _judged(target, ours, found, "{:.2f} times", holds)


def _with(record: Record, **values: float) -> Record:
    return replace(record, values=values)


def _judged(target: str, form: str, found: Figure | None, text: str, holds: Callable[[float], bool]) -> Verdict:
    if found is None:
        return Verdict(target, form, _NOT_MEASURED, None)
    spread = f" ({found.low:.2f} to {found.high:.2f})" if found.n_rounds > 1 else ""
    return Verdict(target, form, text.format(found.median) + spread, holds(found.median))
