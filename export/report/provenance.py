"""Where the bundle comes from: data, settings, versions and digests."""

from collections.abc import Mapping
from typing import Any

from .evidence import Evidence
from .markup import Content, Html, group, tag
from .section import Section, figure, note, side_by_side, table
from .wording import count, number, seconds

_MAX_COLUMNS = 200
_MAX_MEMBERS = 200


def provenance(evidence: Evidence) -> Section:
    """Return the section."""
    parts: list[Content] = [side_by_side(_settings(evidence), _proofs(evidence))]
    if columns := evidence.training.get("columns", ()):
        parts.append(_columns(columns))
    lead = "What it was made from and how, for whoever has to make it again or vouch for it."
    return Section("provenance", "Provenance", lead, group(parts))


def _settings(evidence: Evidence) -> Html:
    bundle, told = evidence.bundle, evidence.training
    rows: list[tuple[str, str]] = [("bundle", bundle.name), ("digest", bundle.digest)]
    keys = {"target": "target", "n_folds": "folds", "keep": "members kept as", "seed": "seed", "sampler": "sampler"}
    rows += [(word, str(told[key])) for key, word in keys.items() if told.get(key) is not None]
    if told.get("time_limit_s") is not None:
        rows.append(("time limit", seconds(float(told["time_limit_s"]))))
    rows += [(f"time to {key}", seconds(float(value))) for key, value in told.get("seconds", {}).items() if value]
    if not told:
        rows += [
            (f"{key} of the combination", str(bundle.selection[key]))
            for key in ("n_folds", "seed")
            if key in bundle.selection
        ]
    rows += [(library, version) for library, version in bundle.created_by.items()]
    rows += [(f"evidence {name}", digest) for name, digest in bundle.evidence.items()]
    body = [group([tag("dt", name), tag("dd", text)]) for name, text in rows]
    return figure(tag("dl", *body, class_="cells settings"), "", title="Settings and versions")


def _proofs(evidence: Evidence) -> Html:
    rows: list[tuple[Content, ...]] = []
    for member in evidence.bundle.members[:_MAX_MEMBERS]:
        proof = member.certificate
        source = " ".join(str(member.source[key]) for key in ("framework", "version", "class") if key in member.source)
        rows.append(
            (
                group([tag("b", member.name), tag("small", source)]),
                f"{proof.rows:,}",
                f"{proof.probes:,}",
                number(proof.max_abs_diff, 2),
                "int8" if member.quantization is not None else "float",
            )
        )
    rest = len(evidence.bundle.members) - len(rows)
    return group(
        [
            figure(
                table(("member", "rows", "probes", "largest difference", "numbers"), rows, caption="Proofs"),
                "Each member's served graph was compared with its trained model on real rows and on probes at its "
                "decision edges.",
                title="Proven to answer as trained",
            ),
            note(f"and {count(rest, 'further member')}") if rest else None,
        ]
    )


def _columns(columns: list[Mapping[str, Any]]) -> Html:
    rows: list[tuple[Content, ...]] = [
        (str(column.get("name")), str(column.get("role", "")), str(column.get("note") or ""))
        for column in columns[:_MAX_COLUMNS]
    ]
    cut = f" The first {_MAX_COLUMNS} of {len(columns):,}." if len(columns) > _MAX_COLUMNS else ""
    return tag(
        "details",
        tag("summary", f"Columns of the data ({len(columns):,})"),
        table(("column", "taken as", "note"), rows, caption=f"Columns.{cut}", numeric=3),
    )
