"""A snapshot as the status page takes it: JSON that says what changes, and what the page is to look like."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version as distribution_version
from typing import Any

from ..counters import TIME_BOUNDS_NS, Counters
from ..origin import StoreState
from ..view import Entry
from .families import onnxruntime_version
from .observation import Facts, Seen
from .process import CPU
from .snapshot import Snapshot

Status = dict[str, Any]


def status(snapshot: Snapshot) -> Status:
    """Return the server, its models with their versions, and what each counted; times are in nanoseconds.

    `layout` changes when the page must be drawn anew, not only its numbers.
    """
    seen = {each.facts.key: each for each in snapshot.versions}
    wanted = snapshot.wanted()
    models: dict[str, list[Status]] = {}
    for entry in snapshot.entries:
        models.setdefault(entry.name, []).append(
            _version(entry, seen.get((entry.name, entry.version)), is_wanted=entry in wanted)
        )
    found: Status = {
        "store": None if snapshot.store is None else _store(snapshot.store),
        "server": {
            "version": distribution_version("widedeep"),
            "onnxruntime": onnxruntime_version(),
            "front_end": snapshot.front_end,
            "ready": snapshot.is_ready,
            "uptime_s": max(0.1, round(snapshot.now_s - snapshot.started_s, 1)),
            "now_s": snapshot.now_s,
            "workers": snapshot.n_workers,
            "workers_up": snapshot.n_workers_up,
            "calls_under_way": snapshot.calls_under_way,
            "memory_bytes": snapshot.process.get("process_resident_memory_bytes"),
            "cpu_s": snapshot.process.get(CPU),
        },
        "bounds_ns": TIME_BOUNDS_NS,
        "refusals": {reason: n for reason, n in snapshot.refusals.items() if n},
        "load_failures": {name: n for name, n in snapshot.load_failures.items() if n},
        "totals": _counts([each.total for each in snapshot.versions]),
        "models": [
            {"name": name, "versions": sorted(versions, key=lambda version: -version["version"])}
            for name, versions in models.items()
        ],
    }
    return found | {"layout": _layout(found)}


def _store(store: StoreState) -> Status:
    return {
        "url": store.url,
        "copying": store.is_copying,
        "up": store.is_up,
        "trouble": store.trouble,
        "seen_s": store.seen_s,
        "left_out": [
            {"model": model, "version": version, "why": why} for (model, version), why in sorted(store.left_out.items())
        ],
    }


def _version(entry: Entry, seen: Seen | None, *, is_wanted: bool) -> Status:
    found: Status = {
        "version": entry.version,
        "state": entry.state.value,
        "reason": entry.reason,
        "wanted": is_wanted,
    }
    if seen is None:
        return found
    members = [
        {
            "name": member.name,
            "framework": member.framework,
            "provider": member.provider,
            "weight": member.weight,
            **_runs(seen.members[member.name]),
        }
        for member in seen.facts.members
    ]
    return found | _described(seen.facts) | _counts([seen.total]) | {"waiting": seen.waiting_rows, "members": members}


def _described(facts: Facts) -> Status:
    names = ("digest", "task", "combiner", "chosen")
    return {name: getattr(facts, name) for name in names} | {"why": facts.reason}


def _counts(counters: Sequence[Counters]) -> Status:
    """Return what several versions counted in sum."""
    calls: dict[str, int] = {}
    for each in counters:
        for code, count in each.calls.items():
            calls[code] = calls.get(code, 0) + count
    buckets = {
        name: [sum(column) for column in zip(*(getattr(c.histograms, name).counts for c in counters), strict=True)]
        or [0] * (len(TIME_BOUNDS_NS) + 1)
        for name in ("call", "queue")
    }
    return {
        "rows": sum(each.rows for each in counters),
        "executions": sum(each.executions for each in counters),
        "calls": calls,
        **buckets,
    }


def _runs(counters: Counters) -> Status:
    histogram = counters.histograms.compute_infer
    return {"rows": counters.rows, "runs": sum(histogram.counts), "ns": histogram.total}


def _layout(found: Status) -> str:
    """Return a digest of all that is not a number which the page keeps up to date by itself."""
    fixed = [
        [
            model["name"],
            [
                [version.get(key) for key in ("version", "state", "reason", "digest")]
                + [[member["name"] for member in version.get("members", ())]]
                for version in model["versions"]
            ],
        ]
        for model in found["models"]
    ]
    about = [found["server"][key] for key in ("version", "front_end", "workers", "workers_up")]
    names = [sorted(found["totals"]["calls"]), sorted(found["refusals"]), sorted(found["load_failures"])]
    store = {**(found["store"] or {}), "seen_s": None}
    text = json.dumps([fixed, about, names, store])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
