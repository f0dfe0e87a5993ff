"""What one worker says of itself, in JSON's terms, and what several say as one observation.

What is counted is apart from the rest: it is kept of workers that have died, and only ever grows.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..counters import read, spell
from ..counts import Counts
from .observation import Facts, Key, Member, Observation, Seen
from .process import CPU, added_up

Told = Mapping[str, Any]
"""What one worker says: facts of versions, counts by key, and what is so at the moment."""

BESIDE = ""
"""Key of the counts that belong to no version."""


def spell_observation(observation: Observation, unchanged: Collection[Key] = ()) -> Told:
    """Return an observation in JSON's terms, without the facts and counts of some versions."""
    process = dict(observation.process)
    counts: dict[str, Counts] = {BESIDE: {"refusals": observation.refusals, CPU: process.pop(CPU, 0.0)}}
    facts = {}
    for seen in observation.versions:
        if seen.facts.key in unchanged:
            continue
        key = _spelled(seen.facts.key)
        members = {name: spell(counters) for name, counters in seen.members.items()}
        counts[key] = {"total": spell(seen.total), "members": members}
        facts[key] = asdict(seen.facts) | {"waiting": seen.waiting_rows}
    return {
        "keys": [BESIDE, *(_spelled(seen.facts.key) for seen in observation.versions)],
        "facts": facts,
        "counts": counts,
        "calls_under_way": observation.calls_under_way,
        "front_end": observation.front_end,
        "certificates": observation.certificates,
        "process": process,
    }


def read_observation(told: Sequence[Told], counts: Mapping[str, Counts], own: Mapping[str, float]) -> Observation:
    """Return what several workers say as one.

    Args:
        told: by each worker that lives.
        counts: key of a version -> its sum over all workers, dead ones included.
        own: process values of the supervisor.
    """
    facts: dict[str, Facts] = {}
    waiting: dict[str, int] = {}
    for each in told:
        for key, said in each["facts"].items():
            given = dict(said)
            waiting[key] = waiting.get(key, 0) + given.pop("waiting")
            facts[key] = Facts(**given | {"members": tuple(Member(**member) for member in given["members"])})
    beside = counts.get(BESIDE, {})
    process = added_up([own, *(each["process"] for each in told)])
    return Observation(
        n_processes=len(told),
        versions=[_seen(facts[key], counts[key], waiting[key]) for key in facts if key in counts],
        refusals=beside.get("refusals", {}),
        calls_under_way=sum(each["calls_under_way"] for each in told),
        front_end=told[0]["front_end"] if told else "",
        certificates=_earliest([each["certificates"] for each in told]),
        process=process | {CPU: own.get(CPU, 0.0) + beside.get(CPU, 0.0)},
    )


def _earliest(expiries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the earliest expiries: a worker may not have read what the others have."""
    names = {name for each in expiries for name in each}
    return {name: min(each[name] for each in expiries if name in each) for name in names}


def _spelled(key: Key) -> str:
    return "{}/{}".format(*key)


def _seen(facts: Facts, counts: Counts, waiting_rows: int) -> Seen:
    members = counts["members"]
    return Seen(
        facts,
        read(counts["total"]),
        {member.name: read(members[member.name]) for member in facts.members},
        waiting_rows,
    )
