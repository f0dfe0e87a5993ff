"""Nobody's files are mixed with a job's."""

from pathlib import Path

import pytest
from batch_outputs import remote_url
from widedeep.serving.batch.store.output import Output
from widedeep.serving.batch.store.ownership import check_output
from widedeep.serving.contract.errors import ConfigurationError


def test_a_folder_that_is_not_there_or_empty_may_be_an_output(tmp_path: Path) -> None:
    check_output(Output(str(tmp_path / "a" / "b")))
    check_output(Output(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_not_be_an_output(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="this is a file"):
        check_output(Output(str(tmp_path / "out")))


@pytest.mark.parametrize("name", ["notes.txt", "part-000000.parquet", "_SUCCESS", "_done"])
def test_a_folder_with_files_of_no_job_is_refused_and_the_file_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigurationError, match=rf"{name}: .* not a batch job's"):
        check_output(Output(str(tmp_path)))


@pytest.mark.parametrize("name", ["notes.txt", "part-1.parquet", "part-000000.parquet.bak", "day=1"])
def test_a_file_beside_a_jobs_that_readers_would_take_for_a_part_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "_job.json").write_bytes(b"")
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigurationError, match=rf"{name}: .* not its batch job's"):
        check_output(Output(str(tmp_path)))


def test_a_jobs_own_files_and_those_that_readers_ignore_are_let_be(tmp_path: Path) -> None:
    for name in ("_job.json", "part-000000.parquet", "part-1234567-retry-1.csv", "_SUCCESS", ".part.crc", "_rejects"):
        (tmp_path / name).write_bytes(b"")
    check_output(Output(str(tmp_path)))


def test_what_a_job_leaves_that_was_cut_off_before_it_began_is_let_be(tmp_path: Path) -> None:
    for name in ("_lock", "_tmp", "_tasks.jsonl", "_inputs.jsonl"):
        (tmp_path / name).write_bytes(b"")
    check_output(Output(str(tmp_path)))


def test_an_output_in_its_input_is_refused_also_by_another_way_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    for out in ("data", "data/out", "link/out", "data/../data/out"):
        with pytest.raises(ConfigurationError, match="must not lie in the input"):
            check_output(Output(str(tmp_path / out)), str(data))
        with pytest.raises(ConfigurationError, match="must not lie in the input"):
            check_output(Output(f"file://{tmp_path / out}"), str(data))
    check_output(Output(str(tmp_path / "data-out")), str(data))
    check_output(Output(str(tmp_path / "data-out")), str(tmp_path / "data.parquet"))


def test_an_output_in_its_input_is_refused_on_other_file_systems() -> None:
    url = remote_url()
    with pytest.raises(ConfigurationError, match="must not lie in the input"):
        check_output(Output(f"{url}/scores"), url)
    check_output(Output(f"{url}-scores"), url)
    check_output(Output(url), "/data")
