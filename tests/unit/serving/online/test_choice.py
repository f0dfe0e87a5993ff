"""Which versions should be served, decided from what looks have shown; nothing here touches a disk."""

import math
from collections.abc import Mapping

import pytest
from widedeep.serving.online.choice import Choice, Failure, Memory, choose
from widedeep.serving.online.source import Seen


def seen(digest: str, *, lacks: str = "", written: int = 0) -> Seen:
    """Return a look at the files of one bundle, as last written at some time."""
    return Seen((("bundle.json", 0, 0, len(digest), written),) if digest else (), digest, lacks)


def chosen(
    disk: Mapping[int, Seen],
    served: Mapping[int, str],
    before: Mapping[int, Seen] | None = None,
    *,
    failures: Mapping[int, Failure] | None = None,
    max_versions: int = 1,
    now_s: float = 0.0,
) -> Choice:
    """Choose; without `before` the look before has shown the same."""
    memory = Memory(disk if before is None else before, dict(failures or {}))
    return choose(disk, disk.__getitem__, served, memory, max_versions=max_versions, now_s=now_s)


def failure(of: Seen, retry_s: float = math.inf) -> Failure:
    return Failure(of.stamp, "it is damaged", 1, retry_s)


def test_what_is_served_as_it_is_on_disk_goes_on() -> None:
    assert chosen({1: seen("a")}, {1: "a"}) == Choice(keep=(1,), open=(), notes={})


def test_a_new_version_is_opened_once_a_second_look_finds_it_unchanged() -> None:
    disk = {1: seen("a"), 2: seen("b")}
    first = chosen(disk, {1: "a"}, {1: seen("a")})
    assert first == Choice((1,), (), {2: "its files are still changing"}, is_settled=False)
    growing = chosen(disk, {1: "a"}, {1: seen("a"), 2: seen("b", written=-1)})
    assert growing == first
    assert chosen(disk, {1: "a"}) == Choice((), (2,), {1: "not among the newest versions served"})


def test_a_version_that_lacks_files_is_waited_for_without_hurry() -> None:
    lacking = seen("b", lacks="its file members/deep.onnx is not there yet")
    assert chosen({1: seen("a"), 2: lacking}, {1: "a"}) == Choice((1,), (), {2: lacking.lacks})


def test_a_version_that_failed_leaves_what_is_served_until_its_files_change() -> None:
    disk = {1: seen("a"), 2: seen("b")}
    failures = {2: failure(seen("b"))}
    assert chosen(disk, {1: "a"}, failures=failures) == Choice((1,), (), {2: "it is damaged"})
    mended = {1: seen("a"), 2: seen("b", written=1)}
    assert chosen(mended, {1: "a"}, failures=failures).open == (2,)


def test_a_failure_that_may_go_by_itself_is_tried_again_when_it_is_time() -> None:
    disk = {1: seen("a"), 2: seen("b")}
    failures = {2: failure(seen("b"), retry_s=30.0)}
    assert chosen(disk, {1: "a"}, failures=failures, now_s=29.0).open == ()
    assert chosen(disk, {1: "a"}, failures=failures, now_s=30.0).open == (2,)


def test_the_newest_good_version_is_served_where_a_newer_one_is_broken() -> None:
    disk = {1: seen("a"), 2: seen("b"), 3: seen("c")}
    choice = chosen(disk, {1: "a"}, failures={3: failure(seen("c"))})
    assert choice.open == (2,)
    assert choice.notes == {3: "it is damaged", 1: "not among the newest versions served"}


def test_a_version_replaced_in_place_is_opened_anew() -> None:
    disk = {1: seen("b")}
    assert chosen(disk, {1: "a"}) == Choice((), (1,), {})
    assert chosen(disk, {1: "a"}, {1: seen("a")}).keep == (1,)


def test_a_version_replaced_by_a_broken_one_is_served_on_from_memory() -> None:
    choice = chosen({1: seen("b")}, {1: "a"}, failures={1: failure(seen("b"))})
    assert choice == Choice((1,), (), {1: "it is damaged"})


def test_files_touched_but_not_changed_are_not_opened_anew() -> None:
    assert chosen({1: seen("a", written=9)}, {1: "a"}, {1: seen("a")}) == Choice((1,), (), {})


def test_the_version_before_takes_over_when_the_newest_is_removed() -> None:
    disk = {1: seen("a")}
    first = chosen(disk, {2: "b"}, {1: seen("a"), 2: seen("b")})
    assert (first.keep, first.open, first.is_settled) == ((2,), (), False)
    assert chosen(disk, {2: "b"}) == Choice((), (1,), {})


@pytest.mark.parametrize("disk", [{}, {1: Seen((), "", "it has no bundle.json yet")}], ids=["gone", "emptied"])
def test_the_last_version_is_served_on_when_its_files_are_gone(disk: Mapping[int, Seen]) -> None:
    choice = chosen(disk, {1: "a"})
    assert (choice.keep, choice.open, choice.is_settled) == ((1,), (), True)
    assert choice.notes[1] in {"its folder is gone", "it has no bundle.json yet"}


def test_of_several_versions_those_that_did_not_change_go_on_while_others_are_opened() -> None:
    disk = {1: seen("a"), 2: seen("b"), 3: seen("c")}
    assert chosen(disk, {1: "a", 2: "b"}, max_versions=2) == Choice(
        (2,), (3,), {1: "not among the newest versions served"}
    )


def test_versions_too_old_to_matter_are_not_looked_at() -> None:
    looked: list[int] = []

    def see(version: int) -> Seen:
        looked.append(version)
        return seen("a")

    choose(range(1, 100), see, {99: "a"}, Memory(), max_versions=1, now_s=0.0)
    assert looked == [99]
