"""A moment of a server, as metrics and the status page get it, with counters of real statistics."""

from dataclasses import replace

from widedeep.serving.online.counters import Counters
from widedeep.serving.online.metrics.observation import Facts, Member, Seen
from widedeep.serving.online.metrics.snapshot import Snapshot
from widedeep.serving.online.statistics import BatchRecord, Statistics
from widedeep.serving.online.view import Entry, State


def counted() -> list[Counters]:
    statistics = Statistics(2, {0: 0.75, 1: 0.25})
    statistics.record_batch(BatchRecord(3, [15e-6, 0.5], 10e-6, 0.02, 5e-6, [(0, 3, 0.004), (1, 3, 0.0001)]), 1)
    statistics.record_batch(BatchRecord(256, [0.0], 0.0, 11.0, 0.0, [(-1, 256, 0.04)]), 2)
    statistics.record_request(0.021, "OK")
    statistics.record_request(0.6, "DEADLINE_EXCEEDED")
    return statistics.all()


def snapshot(name: str = "digits", **changes: object) -> Snapshot:
    total, deep, wide = counted()
    members = (Member("deep", "keras", "CPU", 0.7), Member("wide", "xgboost", "CPU", 0.3))
    facts = Facts(name, 2, "abc", "classification", "linear_pool", "nnls", "it is best", members)
    whole = Snapshot(
        is_ready=True,
        started_s=1000.0,
        now_s=1100.0,
        versions=[Seen(facts, total, {"deep": deep, "wide": wide}, waiting_rows=5)],
        entries=[Entry(name, 1, State.UNAVAILABLE, "old"), Entry(name, 2, State.READY), Entry("z", 1, State.LOADING)],
        refusals={"overloaded": 4},
        load_failures={"z": 2},
        calls_under_way=3,
        front_end="native",
        process={"process_cpu_seconds": 1.5},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]
