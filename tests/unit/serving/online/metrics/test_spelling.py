import json
from dataclasses import replace

from metric_snapshots import snapshot
from widedeep.serving.online.counts import summed
from widedeep.serving.online.metrics.observation import Observation
from widedeep.serving.online.metrics.process import CPU
from widedeep.serving.online.metrics.spelling import BESIDE, Told, read_observation, spell_observation


def observation(cpu_s: float = 2.0) -> Observation:
    moment = snapshot()
    return Observation(
        versions=moment.versions,
        refusals={"overloaded": 4},
        calls_under_way=3,
        front_end="native",
        certificates={"cert": 1.8e9},
        process={CPU: cpu_s, "process_open_fds": 10.0, "process_max_fds": 99.0},
    )


def carried(told: Told) -> Told:
    """Return what arrives at the other end of the control socket."""
    arrived: Told = json.loads(json.dumps(told))
    return arrived


def test_one_worker_is_read_as_it_was_spelled_beside_the_supervisors_process() -> None:
    given = observation()
    told = carried(spell_observation(given))
    found = read_observation([told], told["counts"], {CPU: 1.0, "process_open_fds": 5.0, "process_max_fds": 88.0})
    assert found.versions == given.versions
    assert (found.refusals, found.calls_under_way, found.front_end) == (given.refusals, 3, "native")
    assert found.certificates == {"cert": 1.8e9}
    assert found.process == {CPU: 3.0, "process_open_fds": 15.0, "process_max_fds": 88.0}


def test_several_workers_are_the_sum_of_what_they_and_the_dead_have_counted() -> None:
    told = [carried(spell_observation(observation())) for _ in range(3)]
    counts = {key: summed([each["counts"][key] for each in told]) for key in told[0]["counts"]}
    found = read_observation(told[:2], counts, {})  # the third has died: only its counts are left
    (seen,) = found.versions
    assert found.n_processes == 2
    assert seen.total.rows == 3 * 259
    assert seen.members["wide"].histograms.compute_infer.counts == [
        3 * n for n in observation().versions[0].members["wide"].histograms.compute_infer.counts
    ]
    assert (seen.waiting_rows, found.calls_under_way) == (10, 6)
    assert (found.refusals["overloaded"], found.process[CPU]) == (12, 6.0)


def test_what_has_not_changed_is_named_and_not_repeated() -> None:
    told = spell_observation(observation(), unchanged=[("digits", 2)])
    assert told["keys"] == [BESIDE, "digits/2"]
    assert set(told["counts"]) == {BESIDE}
    assert told["facts"] == {}


def test_of_certificates_that_workers_have_in_force_the_earliest_end_counts() -> None:
    given = [replace(observation(), certificates=each) for each in ({"cert": 3.0, "client_ca": 5.0}, {"cert": 2.0}, {})]
    found = read_observation([carried(spell_observation(each)) for each in given], {}, {})
    assert found.certificates == {"cert": 2.0, "client_ca": 5.0}


def test_a_server_whose_workers_say_nothing_yet_has_nothing_to_show() -> None:
    found = read_observation([], {}, {})
    assert (found.n_processes, list(found.versions), found.front_end, found.process) == (0, [], "", {CPU: 0.0})
