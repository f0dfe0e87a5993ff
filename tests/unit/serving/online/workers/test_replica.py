"""The replica over a real board; what stands in for servables tells when it is closed."""

import os
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from widedeep.serving.contract.errors import NotReady
from widedeep.serving.online.tally import SharedCount
from widedeep.serving.online.view import Entry, State, View
from widedeep.serving.online.workers.board import Board
from widedeep.serving.online.workers.control import Connection
from widedeep.serving.online.workers.replica import Replica
from widedeep.serving.online.workers.spelling import spell_view


class Opened:
    def __init__(self, name: str, version: int, waiting: SharedCount) -> None:
        self.name, self.version, self.waiting = name, version, waiting
        self.bundle = SimpleNamespace(digest=f"digest of {version}")
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Fixture:
    def __init__(self) -> None:
        self.board, descriptor = Board.create(2)
        os.close(descriptor)
        self.opened: dict[int, Opened] = {}
        ours, theirs = socket.socketpair()
        self.asked: list[str] = []
        self.supervisor = Connection(ours, lost=lambda: None, name="supervisor")
        self.supervisor.start({})
        self.worker = Connection(theirs, lost=lambda: None, name="worker")
        self.worker.start(
            {
                "load": lambda name: self.asked.append(f"load {name}"),
                "unload": lambda name: self.asked.append(f"unload {name}"),
            }
        )
        self.replica = Replica(self.board, 0, self.supervisor, cast("Any", self.open))

    def open(self, name: str, version: int, _: Path, waiting: SharedCount) -> Any:
        self.opened[version] = Opened(name, version, waiting)
        return self.opened[version]

    def stage(self, generation: int, *versions: int) -> None:
        ready = {"cats": {version: self.opened[version] for version in versions}} if versions else {}
        entries = {
            ("cats", version): Entry("cats", version, State.READY if version in versions else State.UNAVAILABLE, "gone")
            for version in self.opened
        }
        keys = {10 + version: opened for version, opened in self.opened.items()}
        self.replica.stage(generation, spell_view(View(ready, entries), keys))


@pytest.fixture
def made() -> Iterator[Fixture]:
    fixture = Fixture()
    for version in (1, 2):
        assert fixture.replica.open(10 + version, "cats", version, "models") == f"digest of {version}"
    yield fixture
    fixture.supervisor.close()


def version_of(made: Fixture) -> int:
    return made.replica.get("cats").version


def test_a_staged_view_is_shown_once_the_board_says_so_and_not_before(made: Fixture) -> None:
    made.stage(1, 1)
    assert made.replica.servables() == []
    made.board.generation = 1
    assert version_of(made) == 1
    made.stage(2, 2)
    assert version_of(made) == 1
    made.board.generation = 2
    assert version_of(made) == 2
    assert {(entry.version, entry.state) for entry in made.replica.index()} == {
        (1, State.UNAVAILABLE),
        (2, State.READY),
    }


def test_a_view_that_is_current_already_is_shown_at_once(made: Fixture) -> None:
    made.board.generation = 7
    made.stage(7, 1)
    assert version_of(made) == 1
    assert made.replica.names() == ["cats"]
    assert [servable.version for servable in made.replica.versions("cats")] == [1]


def test_a_model_that_is_in_no_view_any_more_is_not_ready(made: Fixture) -> None:
    made.stage(1)
    made.board.generation = 1
    with pytest.raises(NotReady, match="model 'cats' version 2 is UNAVAILABLE: gone"):
        made.replica.get("cats")


def test_what_is_dropped_is_closed_once(made: Fixture) -> None:
    made.replica.drop(11)
    made.replica.drop(11)
    assert (made.opened[1].closed, made.opened[2].closed) == (True, False)
    made.replica.close()
    assert made.opened[2].closed
    assert made.replica.open_now() == {}


def test_what_is_dropped_is_let_go_once_another_view_is_current(made: Fixture) -> None:
    made.stage(1, 1)
    made.board.generation = 1
    made.stage(2, 2)
    made.board.generation = 2
    old = weakref.ref(made.opened.pop(1))
    made.replica.drop(11)
    assert old() is None
    assert version_of(made) == 2


def test_rows_that_wait_are_counted_on_the_board_under_the_versions_key(made: Fixture) -> None:
    made.opened[1].waiting.own = 5
    assert made.board.count(1, 11).elsewhere() == 5
    assert made.board.count(1, 12).elsewhere() == 0


def test_changes_are_the_supervisors_to_make(made: Fixture) -> None:
    made.replica.load("cats")
    made.replica.unload("cats")
    assert made.asked == ["load cats", "unload cats"]
