"""Differences between two jobs, in words."""

from dataclasses import replace

import pyarrow as pa
from batch_outputs import input_files, job_spec
from widedeep.serving.batch.spec import InputFile, JobSpec
from widedeep.serving.batch.store.changes import describe_changes, describe_files

BEFORE = job_spec("/out")


def changes(**now: object) -> list[str]:
    return describe_changes(BEFORE, replace(BEFORE, **now), [], [])


def test_equal_jobs_have_no_differences() -> None:
    assert changes() == []
    assert describe_changes(BEFORE, JobSpec.from_json(BEFORE.to_json()), [], []) == []


def test_a_bundle_or_output_that_was_moved_is_no_difference() -> None:
    assert changes(bundle="/elsewhere/1", output="/moved") == []


def test_another_bundle_is_told_once_with_name_version_and_digest() -> None:
    assert changes(digest="c" * 64, version="2") == [
        f"bundle: was digits version 1 with digest {'a' * 12}, now digits version 2 with digest {'c' * 12}"
    ]


def test_every_option_that_differs_is_told_as_it_was_and_is() -> None:
    assert changes(keep=("id", "day"), image_scale=255.0, member_rows={"net": 64}) == [
        "keep: was none, now id, day",
        "image_scale: was none, now 255.0",
        "member_rows: was net=32, now net=64",
    ]


def test_columns_of_the_input_that_differ_are_told_by_name() -> None:
    schema = pa.schema([("x", pa.int32()), ("y", pa.string())])
    assert changes(input=replace(BEFORE.input, schema=schema, delimiter=";")) == [
        "input delimiter: was ,, now ;",
        "input column x: was int64, now int32",
        "input column y: was not there, now string",
    ]


def test_files_of_the_input_that_differ_are_told_by_name() -> None:
    first, second = input_files(2)
    now = [replace(second, size=7), InputFile("new.parquet", 1, 1)]
    assert describe_changes(BEFORE, replace(BEFORE, input_digest="other"), [first, second], now) == [
        "input: file-0.parquet was removed",
        "input: new.parquet was added",
        "input: file-1.parquet (from 101 to 7 bytes) was changed",
    ]


def test_many_files_are_counted() -> None:
    assert describe_files(input_files(10), []) == [
        "input: file-0.parquet, file-1.parquet, file-2.parquet and 7 more files were removed"
    ]


def test_a_file_of_the_same_size_was_written_again() -> None:
    (file,) = input_files(1)
    assert describe_files([file], [replace(file, mtime_ns=5)]) == ["input: file-0.parquet (written again) was changed"]


def test_files_in_another_order_are_told() -> None:
    assert describe_files(input_files(2), input_files(2)[::-1]) == ["input: its files come in another order"]
