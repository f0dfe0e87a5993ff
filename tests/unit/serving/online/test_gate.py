"""The way in for inference calls."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from waiting import wait_for as wait
from widedeep.serving.contract.errors import NotReady
from widedeep.serving.online.gate import Gate

wait_for = partial(wait, timeout_s=20)


def test_an_open_gate_lets_calls_pass() -> None:
    Gate().enter()


def test_a_held_call_turns_back_at_the_release_and_not_before() -> None:
    gate = Gate()
    gate.hold(at_most_s=10)
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(gate.enter) for _ in range(4)]
        assert not any(call.done() for call in calls)
        gate.release()
        for call in calls:
            with pytest.raises(NotReady, match="the server is draining"):
                call.result(10)


def test_a_call_after_the_release_turns_back_at_once() -> None:
    gate = Gate()
    gate.release()
    with pytest.raises(NotReady):
        gate.enter()


def test_holding_waits_while_calls_keep_coming() -> None:
    gate = Gate()
    waits: list[float] = []
    with ThreadPoolExecutor(3) as threads:

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) <= 3:
                threads.submit(gate.enter)
                wait_for(lambda: gate.n_waiting == len(waits))

        gate.hold(at_most_s=1.0, sleep=sleep)
        gate.release()
    assert len(waits) == 4


def test_holding_ends_even_if_calls_never_pause() -> None:
    gate = Gate()
    waits: list[float] = []
    with ThreadPoolExecutor(20) as threads:

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            threads.submit(gate.enter)
            wait_for(lambda: gate.n_waiting == len(waits))

        gate.hold(at_most_s=0.2, sleep=sleep)
        gate.release()
    assert sum(waits) == pytest.approx(0.2)
