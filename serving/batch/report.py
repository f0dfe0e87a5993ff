"""What a person is told of a job at its end: plain text."""

from .job import Summary
from .progress import duration


def describe(summary: Summary) -> str:
    """Return counts, rate and place of the output; and the evaluation, where there is one."""
    bundle = summary.bundle
    lines = [
        f"{summary.output}: {summary.n_parts:,} parts, scored by {bundle['name']} version {bundle['version']} "
        f"({bundle['digest'][:12]})",
        f"  {summary.n_in:,} rows in = {summary.n_scored:,} scored + {summary.n_rejected:,} rejected",
    ]
    if summary.n_parts_now:
        rate = summary.n_rows_now / max(summary.seconds, 1e-9)
        lines.append(f"  {summary.n_rows_now:,} rows in {duration(summary.seconds)}: {rate:,.0f} rows/s")
    else:
        lines.append("  was complete already; nothing was done")
    if summary.n_rejected:
        lines.append("  rejected rows, with reasons, are in _rejects/; --retry-rejects scores them once more")
    if summary.evaluation:
        from .evaluation import describe as describe_evaluation

        lines += ["", describe_evaluation(summary.evaluation)]
    return "\n".join(lines)
