import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import Samples, samples, value
from metric_snapshots import snapshot
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from widedeep.serving.online.metrics.exposition import exposition
from widedeep.serving.online.metrics.families import FAMILIES
from widedeep.serving.online.metrics.snapshot import Snapshot
from widedeep.serving.online.view import Entry, State
from widedeep.serving.remote.copy import State as Store

DOCUMENT = Path(__file__).parents[5] / "docs" / "observability.md"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def told(of: Snapshot) -> Samples:
    return samples(exposition(of, "")[0].decode())


DIGITS = {"model": "digits", "version": "2"}


def test_counters_and_gauges_hold_what_was_counted() -> None:
    found = told(snapshot())
    assert value(found, "widedeep_calls_total", status="OK", **DIGITS) == 1
    assert value(found, "widedeep_calls_total", status="DEADLINE_EXCEEDED", **DIGITS) == 1
    assert value(found, "widedeep_rows_total", **DIGITS) == 259
    assert value(found, "widedeep_executions_total", **DIGITS) == 2
    assert value(found, "widedeep_member_rows_total", member="wide", **DIGITS) == 259
    assert value(found, "widedeep_member_weight", member="deep", **DIGITS) == 0.7
    assert value(found, "widedeep_waiting_rows", **DIGITS) == 5
    assert value(found, "widedeep_refusals_total", reason="overloaded") == 4
    assert value(found, "widedeep_load_failures_total", model="z") == 2
    assert value(found, "widedeep_load_failures_total", model="digits") == 0
    assert value(found, "widedeep_model_info", digest="abc", combiner="linear_pool", **DIGITS) == 1
    assert value(found, "widedeep_calls_under_way") == 3
    assert value(found, "widedeep_ready") == 1
    assert value(found, "process_cpu_seconds_total") == 1.5


def test_buckets_are_cumulative_and_a_value_on_a_bound_is_within_it() -> None:
    found = told(snapshot())

    def below(metric: str, bound: str, **labels: str) -> float:
        return value(found, f"{metric}_bucket", le=bound, **labels, **DIGITS)

    assert [below("widedeep_queue_seconds", b) for b in ("1e-05", "2e-05", "0.2", "0.5", "+Inf")] == [1, 2, 2, 3, 3]
    assert [below("widedeep_compute_seconds", b) for b in ("0.01", "0.02", "10.0", "+Inf")] == [0, 1, 1, 2]
    assert [below("widedeep_batch_rows", b) for b in ("2.0", "4.0", "128.0", "256.0")] == [0, 1, 1, 2]
    assert [below("widedeep_call_seconds", b) for b in ("0.02", "0.05")] == [0, 1]
    assert value(found, "widedeep_queue_seconds_sum", **DIGITS) == pytest.approx(0.500015)
    assert value(found, "widedeep_batch_rows_sum", **DIGITS) == 259


def test_a_run_of_the_fused_graph_counts_for_each_member_at_its_share_of_the_time() -> None:
    found = told(snapshot())
    deep, wide = DIGITS | {"member": "deep"}, DIGITS | {"member": "wide"}
    # 40 ms, of which 30 are the first member's.
    assert value(found, "widedeep_member_seconds_bucket", le="0.02", **deep) == 1
    assert value(found, "widedeep_member_seconds_bucket", le="0.05", **deep) == 2
    assert value(found, "widedeep_member_seconds_bucket", le="0.01", **wide) == 2
    assert value(found, "widedeep_member_seconds_sum", **deep) == pytest.approx(0.034)
    assert value(found, "widedeep_member_seconds_sum", **wide) == pytest.approx(0.0101)


def test_the_names_that_tritons_dashboards_use_are_counters_without_a_suffix() -> None:
    text = exposition(snapshot(), "")[0].decode()
    found = samples(text)
    assert value(found, "nv_inference_request_success", **DIGITS) == 1
    assert value(found, "nv_inference_request_failure", **DIGITS) == 1
    assert value(found, "nv_inference_count", **DIGITS) == 259
    assert value(found, "nv_inference_request_duration_us", **DIGITS) == 21_000
    assert value(found, "nv_inference_compute_infer_duration_us", **DIGITS) == 11_020_000
    assert value(found, "nv_inference_pending_request_count", **DIGITS) == 5
    declared = dict(re.findall(r"^# TYPE (nv_\w+) (\w+)$", text, re.MULTILINE))
    assert declared.pop("nv_inference_pending_request_count") == "gauge"
    assert set(declared.values()) == {"counter"}
    assert not [name for name in declared if name.endswith("_total")]


def test_openmetrics_says_the_same_to_those_who_ask_for_it() -> None:
    text, content_type = exposition(snapshot(), OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in openmetrics_families(text.decode())  # refuses what is not to the letter of the format
        for sample in family.samples
    }
    assert found == told(snapshot())


def test_every_sample_is_of_a_family_that_is_declared_with_its_kind_and_labels() -> None:
    kinds = {family.name: family for family in FAMILIES}
    assert len(kinds) == len(FAMILIES)
    for name, labels in told(snapshot()):
        family = kinds.get(name) or kinds[re.sub(r"_(bucket|sum|count)$", "", name)]
        assert {label for label, _ in labels} - {"le"} == set(family.labels), name


def test_a_store_is_told_of_where_there_is_one() -> None:
    def of(store: Store | None) -> dict[str, float]:
        found = told(snapshot(store=store))
        return {
            ",".join([name, *(v for _, v in labels)]): n for (name, labels), n in found.items() if "_store_" in name
        }

    url = "s3://bucket/models"
    assert of(None) == {}
    assert of(Store(url)) == {"widedeep_store_copying": 1}
    left_out = {("digits", 3): "it is damaged", ("digits", 4): "there is no room"}
    assert of(Store(url, is_copying=False, is_up=True, seen_s=1.7e9, left_out=left_out)) == {
        "widedeep_store_copying": 0,
        "widedeep_store_up": 1,
        "widedeep_store_last_success_timestamp_seconds": 1.7e9,
        "widedeep_store_left_out,digits,3": 1,
        "widedeep_store_left_out,digits,4": 1,
    }
    assert of(Store(url, is_copying=False, is_up=False, trouble="no answer")) == {
        "widedeep_store_copying": 0,
        "widedeep_store_up": 0,
    }


def test_only_versions_that_should_be_ready_are_said_not_to_be() -> None:
    ready = {labels: n for (name, labels), n in told(snapshot()).items() if name == "widedeep_model_ready"}
    assert ready == {(("model", "digits"), ("version", "2")): 1, (("model", "z"), ("version", "1")): 0}


def test_a_version_that_failed_beside_a_good_one_is_not_ready() -> None:
    entries = [Entry("m", 1, State.READY), Entry("m", 2, State.UNAVAILABLE, "broken")]
    assert [entry.version for entry in snapshot(entries=entries).wanted()] == [1, 2]


def test_a_version_out_of_service_keeps_its_counters_and_loses_its_gauges() -> None:
    entries = [Entry("digits", 3, State.READY)]
    found = told(snapshot(entries=entries))
    assert value(found, "widedeep_rows_total", **DIGITS) == 259
    assert not [key for key in found if key[0] in {"widedeep_waiting_rows", "widedeep_model_info"}]


def test_a_name_with_every_special_character_comes_back_as_it_is() -> None:
    name = 'a"b\\c\nd<script>é'
    assert value(told(snapshot(name)), "widedeep_rows_total", model=name, version="2") == 259


def test_a_server_that_has_loaded_nothing_has_all_its_metrics_declared() -> None:
    text = exposition(Snapshot(is_ready=False, started_s=0, now_s=1), "")[0].decode()
    declared = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert sorted(declared) == sorted(family.name for family in FAMILIES)


def documented() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Yield name, kind, labels and meaning of each row of the document's tables of metrics."""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if re.match(r"\| `(widedeep|nv|process)_", line):
            name, kind, labels, meaning = (cell.strip() for cell in line.strip("|").split("|"))
            yield name.strip("`"), kind, tuple(re.findall(r"`(\w+)`", labels)), meaning


def test_the_document_has_every_metric_as_it_is() -> None:
    assert list(documented()) == [(family.name, family.kind, family.labels, family.help) for family in FAMILIES]
