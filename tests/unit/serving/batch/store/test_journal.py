"""The files in which a job's record is kept."""

import json
from pathlib import Path

import pytest
from batch_outputs import input_files, job_spec, job_tasks
from widedeep.serving.batch.store.journal import (
    Segments,
    read_inputs,
    read_job,
    read_tasks,
    write_job,
    write_manifest,
)
from widedeep.serving.batch.store.output import Output
from widedeep.serving.batch.task import TaskResult
from widedeep.serving.contract.errors import ConfigurationError


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(str(tmp_path))


def test_a_job_its_tasks_and_its_inputs_read_back(output: Output) -> None:
    spec = job_spec(output.url, keep=("x",), providers={"": ["CPUExecutionProvider"]})
    assert write_job(output, spec, input_files(3), iter(job_tasks(5))) == 5
    assert read_job(output) == (spec, 5)
    assert list(read_tasks(output)) == job_tasks(5)
    assert list(read_inputs(output)) == input_files(3)


def test_the_job_is_written_last_so_that_its_tasks_are_all_there(output: Output) -> None:
    def cut_off() -> object:
        yield from job_tasks(2)
        assert "_job.json" not in output.names()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_job(output, job_spec(output.url), input_files(), cut_off())  # type: ignore[arg-type]
    assert read_job(output) is None
    assert "_tasks.jsonl" not in output.names()


def test_tasks_that_are_not_numbered_from_0_are_refused(output: Output) -> None:
    with pytest.raises(ValueError, match="expected the task of number 0, got 1"):
        write_job(output, job_spec(output.url), [], job_tasks(2)[1:])


def test_a_job_of_another_format_is_refused(output: Output) -> None:
    write_job(output, job_spec(output.url), [], [])
    job = json.loads(output.read("_job.json"))
    output.write("_job.json", json.dumps(job | {"format": 99}).encode())
    with pytest.raises(ConfigurationError, match=r"_job\.json: expected format 1, got 99"):
        read_job(output)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": 1}'])
def test_a_damaged_job_is_refused(output: Output, text: bytes) -> None:
    output.write("_job.json", text)
    with pytest.raises(ConfigurationError, match=r"_job\.json: damaged"):
        read_job(output)


def test_segments_read_back_in_the_order_in_which_they_were_written_also_by_others(output: Output) -> None:
    first = Segments(output)
    first.append([TaskResult(3), TaskResult(1, 2, 1, 1, ("a", "b"), "c", 0.5, {"n": 1})])
    first.append([TaskResult(2)])
    second = Segments(output)
    second.append([TaskResult(0)])
    for segments in (second, Segments(output)):
        assert [result.task for result in segments.read()] == [3, 1, 2, 0]
    assert list(second.read())[1] == TaskResult(1, 2, 1, 1, ("a", "b"), "c", 0.5, {"n": 1})


def test_a_driver_that_lost_its_lock_writes_over_no_segment_of_its_heirs(output: Output) -> None:
    lost, heir = Segments(output), Segments(output)
    heir.append([TaskResult(1)])
    lost.append([TaskResult(0)])
    assert [result.task for result in heir.read()] == [1]
    assert sorted(result.task for result in Segments(output).read()) == [0, 1]


def test_more_segments_than_their_numbers_have_digits_for_keep_their_order(output: Output) -> None:
    segments = Segments(output)
    segments._next = 999_999
    for task in range(3):
        segments.append([TaskResult(task)])
    assert [result.task for result in Segments(output).read()] == [0, 1, 2]


@pytest.mark.parametrize("line", [b'{"task": 1', b"[]", b"{}"])
def test_a_damaged_segment_is_refused_with_its_line(output: Output, line: bytes) -> None:
    Segments(output).append([TaskResult(0)])
    (name,) = output.names("_done")
    output.write(f"_done/{name}", output.read(f"_done/{name}") + line)
    with pytest.raises(ConfigurationError, match=rf"_done/{name}, line 2: damaged"):
        list(Segments(output).read())


def test_a_manifest_is_json_with_an_entry_a_line(output: Output) -> None:
    for entries in ([], [{"task": 0}], [{"task": 0}, {"task": 1}]):
        write_manifest(output, {"format": 1, "n_in": 3}, entries)
        text = output.read("_manifest.json")
        assert json.loads(text) == {"format": 1, "n_in": 3, "results": entries}
        assert text.count(b'"task"') == sum(b'"task"' in line for line in text.splitlines())
