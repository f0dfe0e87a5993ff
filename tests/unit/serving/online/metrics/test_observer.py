import gc

from widedeep.serving.contract.errors import NotReady, Overloaded, TooLarge, Unauthenticated
from widedeep.serving.online.call import Call
from widedeep.serving.online.metrics.observation import Facts, Key, Member
from widedeep.serving.online.metrics.observer import RETIRED, Observer
from widedeep.serving.online.metrics.refusals import REASONS
from widedeep.serving.online.statistics import BatchRecord, Statistics


class Open:
    """What an open version is to an observer."""

    def __init__(self, members: int = 2, waiting_rows: int = 0) -> None:
        self.statistics = Statistics(members)
        self.waiting_rows = waiting_rows

    def serve(self, n_rows: int) -> None:
        self.statistics.record_batch(BatchRecord(n_rows, [0.0], 0, 0.001, 0, [(0, n_rows, 0.001)]), 1)
        self.statistics.record_request(0.002, "OK")


def facts(version: int, *members: str, name: str = "m") -> Facts:
    names = members or ("deep", "wide")
    return Facts(
        name, version, "d" * 64, "regression", "linear_pool", "", "", tuple(Member(n, "", "", 0) for n in names)
    )


def observer(*in_service: Key, is_ready: bool = True) -> Observer:
    return Observer(lambda: in_service, lambda: is_ready)


def rows(seen_by: Observer) -> dict[Key, int]:
    return {seen.facts.key: seen.total.rows for seen in seen_by.observation().versions}


def test_a_version_opened_anew_goes_on_where_it_was_while_the_old_one_still_answers() -> None:
    watching = observer(("m", 1))
    old, new = Open(), Open()
    watching.opened(old, facts(1))
    old.serve(3)
    watching.opened(new, facts(1))
    old.serve(4)
    new.serve(10)
    (seen,) = watching.observation().versions
    assert seen.total.rows == 17
    assert seen.members["deep"].rows == 17
    assert seen.total.calls == {"OK": 3}
    assert sum(seen.total.histograms.call.counts) == 3


def test_counters_never_go_back_however_often_a_version_is_opened() -> None:
    watching = observer(("m", 1))
    for round_ in range(1, 12):
        servable = Open()
        watching.opened(servable, facts(1))
        servable.serve(1)
        assert rows(watching) == {("m", 1): round_}


def test_members_are_summed_by_name_and_those_of_the_newest_bundle_are_told() -> None:
    watching = observer(("m", 1))
    first, second = Open(), Open()
    watching.opened(first, facts(1, "deep", "wide"))
    first.serve(3)
    watching.opened(second, facts(1, "linear", "deep"))
    second.serve(5)  # by its first member, `linear`
    (seen,) = watching.observation().versions
    assert {name: counters.rows for name, counters in seen.members.items()} == {"linear": 5, "deep": 3}


def test_versions_out_of_service_are_told_until_enough_others_have_followed() -> None:
    in_service: list[Key] = [("m", 1)]
    watching = Observer(lambda: in_service, lambda: True)
    for version in range(1, 12):
        watching.opened(Open(), facts(version))
        in_service[:] = [("m", version)]
    assert list(rows(watching)) == [("m", version) for version in range(11 - RETIRED - 1, 12)]


def test_what_is_in_service_is_kept_however_many_versions_have_failed_since() -> None:
    watching = observer(("m", 1), ("other", 1))
    watching.opened(Open(), facts(1))
    watching.opened(Open(), facts(1, name="other"))
    for version in range(2, 20):
        watching.opened(Open(), facts(version))
    assert {("m", 1), ("other", 1)} <= rows(watching).keys()


def test_a_closed_version_is_not_kept_alive_but_its_counters_are() -> None:
    watching = observer()
    servable = Open(waiting_rows=7)
    watching.opened(servable, facts(1))
    assert watching.observation().versions[0].waiting_rows == 7
    servable.serve(3)
    del servable
    gc.collect()
    (seen,) = watching.observation().versions
    assert (seen.total.rows, seen.waiting_rows) == (3, 0)


def test_refusals_are_counted_by_reasons_of_which_there_are_few() -> None:
    watching = observer()
    for error in (Overloaded(""), TooLarge(""), TooLarge(""), Unauthenticated(""), NotReady(""), KeyError("x")):
        watching.failed(Call("ModelInfer", ()), error)
    counts = watching.observation().refusals
    assert tuple(counts) == REASONS
    assert {reason: n for reason, n in counts.items() if n} == {
        "overloaded": 1,
        "too_large": 2,
        "unauthenticated": 1,
        "not_ready": 1,
        "internal": 1,
    }


def test_what_is_not_ready_while_the_server_is_not_is_a_server_that_drains() -> None:
    watching = observer(is_ready=False)
    watching.failed(Call("ModelStreamInfer", ()), NotReady(""))
    assert watching.observation().refusals["draining"] == 1


def test_calls_that_reached_a_model_and_those_that_want_none_are_no_refusals() -> None:
    watching = observer()
    reached = Call("ModelInfer", ())
    reached.reached_model = True
    watching.failed(reached, Overloaded(""))
    watching.failed(Call("ModelReady", ()), Overloaded(""))
    assert not any(watching.observation().refusals.values())
