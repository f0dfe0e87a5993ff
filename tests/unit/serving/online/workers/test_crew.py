"""The crew over real sockets; what stands in for workers opens nothing but keeps the book on what it was told."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from widedeep.serving.contract.errors import BundleError, ExecutionError, NotFound, NotReady
from widedeep.serving.online.repository import Entry, State
from widedeep.serving.online.view import View
from widedeep.serving.online.workers.board import Board
from widedeep.serving.online.workers.control import Connection
from widedeep.serving.online.workers.crew import Crew, Deployed, Mate
from widedeep.serving.online.workers.spelling import read_view

PATH = Path("models/cats/1")


class Standin:
    """A worker's end of a control socket."""

    def __init__(self, board: Board, place: int, life: int) -> None:
        ours, theirs = socket.socketpair()
        self.board = board
        self.open: dict[int, str] = {}
        self.told: list[str] = []
        self.staged: tuple[int, Any] = (0, None)
        self.current_when_staged = -1
        self.error: Exception | None = None
        self.digest = "d1"
        self.rows = 0
        self.mate = Mate(place, life, Connection(ours, lost=lambda: None, name=f"worker {place}"))
        self.end = Connection(theirs, lost=lambda: None, name="supervisor")
        self.mate.connection.start({})
        self.end.start(
            {
                name: getattr(self, f"_{name}")
                for name in ("prepare", "open", "drop", "stage", "statistics", "listen", "turn")
            }
        )

    def _prepare(self) -> None:
        self.told.append("prepare")

    def _open(self, key: int, name: str, version: int, path: str) -> str:
        if isinstance(self.error, SystemExit):
            self.end.close()
        elif self.error is not None:
            raise self.error
        self.open[key] = f"{name}/{version} {path}"
        return self.digest

    def _drop(self, key: int) -> None:
        self.open.pop(key, None)

    def _stage(self, generation: int, view: Any) -> None:
        self.staged = (generation, view)
        self.current_when_staged = self.board.generation

    def _statistics(self, keys: list[str] | None) -> dict[str, Any]:
        return {str(key): [{"rows": self.rows}] for key in self.open if keys is None or str(key) in keys}

    def _listen(self) -> list[str]:
        self.told.append("listen")
        return []

    def _turn(self, ready: bool) -> None:
        self.told.append(f"turn {ready}")


class Workers:
    def __init__(self) -> None:
        self.board, descriptor = Board.create(2)
        os.close(descriptor)
        self.crew = Crew(self.board)
        self.standins: list[Standin] = []
        for place in (0, 1):
            self.crew.join(self.add(place).mate)

    def add(self, place: int) -> Standin:
        self.standins.append(Standin(self.board, place, life=len(self.standins)))
        return self.standins[-1]

    def is_open(self) -> list[bool]:
        return [bool(standin.open) for standin in self.standins]


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    for standin in made.standins:
        standin.mate.connection.close()


def view_of(deployed: Deployed) -> View[Deployed]:
    entry = Entry(deployed.name, deployed.version, State.READY)
    return View({deployed.name: {deployed.version: deployed}}, {(deployed.name, deployed.version): entry})


def test_a_version_is_open_in_all_workers_under_one_key_until_it_is_closed(workers: Workers) -> None:
    deployed = workers.crew.open("cats", 1, PATH)
    assert [standin.open for standin in workers.standins] == [{deployed.key: f"cats/1 {PATH}"}] * 2
    assert workers.crew.open("dogs", 1, PATH).key != deployed.key
    deployed.close()
    assert [list(standin.open.values()) for standin in workers.standins] == [[f"dogs/1 {PATH}"]] * 2


@pytest.mark.parametrize("failing", [0, 1])
def test_a_version_that_one_worker_cannot_open_is_open_in_none(workers: Workers, failing: int) -> None:
    workers.standins[failing].error = BundleError("deep.onnx has changed")
    with pytest.raises(BundleError, match=r"deep.onnx has changed"):
        workers.crew.open("cats", 1, PATH)
    assert workers.is_open() == [False, False]


def test_a_version_over_which_a_worker_dies_is_open_in_none(workers: Workers) -> None:
    workers.standins[1].error = SystemExit()
    with pytest.raises(ExecutionError, match="a worker died over it"):
        workers.crew.open("cats", 1, PATH)
    assert not workers.standins[0].open


def test_a_bundle_that_is_not_the_same_for_all_is_open_in_none(workers: Workers) -> None:
    workers.standins[1].digest = "d2"
    with pytest.raises(BundleError, match="it changed while it was loaded"):
        workers.crew.open("cats", 1, PATH)
    assert workers.is_open() == [False, False]


def test_workers_that_have_died_are_passed_over_as_long_as_one_lives(workers: Workers) -> None:
    workers.standins[0].end.close()
    assert len(workers.crew.ask("listen")) == 1
    workers.crew.open("cats", 1, PATH)
    workers.standins[1].end.close()
    assert workers.crew.ask("listen") == []
    with pytest.raises(NotReady, match="no worker is up"):
        workers.crew.open("dogs", 1, PATH)


def test_a_view_becomes_current_only_after_every_worker_has_it(workers: Workers) -> None:
    deployed = workers.crew.open("cats", 1, PATH)
    for generation in (1, 2):
        workers.crew.show(view_of(deployed))
        assert workers.board.generation == generation
        for standin in workers.standins:
            assert standin.staged[0] == generation
            assert standin.current_when_staged == generation - 1
            assert read_view(standin.staged[1], {deployed.key: deployed}) == view_of(deployed)


def test_a_new_worker_gets_what_the_others_have_before_it_listens(workers: Workers) -> None:
    deployed = workers.crew.open("cats", 1, PATH)
    workers.crew.show(view_of(deployed))
    workers.standins[0].end.close()
    new = workers.add(0)
    assert not workers.crew.is_in(new.mate)
    workers.crew.bring_up(new.mate, view_of(deployed))
    assert new.open == workers.standins[1].open
    assert new.staged[0] == workers.board.generation
    assert new.told == ["prepare", "listen", "turn True"]
    assert workers.crew.is_in(new.mate)
    assert not workers.crew.is_in(workers.standins[0].mate)


def test_a_new_worker_that_finds_another_bundle_does_not_join(workers: Workers) -> None:
    deployed = workers.crew.open("cats", 1, PATH)
    new = workers.add(0)
    new.digest = "d2"
    with pytest.raises(BundleError, match="is not the bundle any more that the other workers serve"):
        workers.crew.bring_up(new.mate, view_of(deployed))
    assert new.told == ["prepare"]
    assert not workers.crew.is_in(new.mate)


def test_statistics_are_sums_and_those_of_the_dead_stay(workers: Workers) -> None:
    deployed = workers.crew.open("cats", 1, PATH)
    key = str(deployed.key)
    workers.standins[0].rows, workers.standins[1].rows = 5, 7
    assert workers.crew.statistics([key]) == {key: [{"rows": 12}]}
    workers.standins[0].rows = 6
    workers.crew.record()
    workers.standins[0].end.close()
    assert workers.crew.statistics([key]) == {key: [{"rows": 13}]}


def test_an_error_of_a_worker_is_the_askers(workers: Workers) -> None:
    workers.standins[1].error = NotFound("nothing there")
    with pytest.raises(NotFound, match="nothing there"):
        workers.crew.ask("open", key=2, name="cats", version=1, path="")
