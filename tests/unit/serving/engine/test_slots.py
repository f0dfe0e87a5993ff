import threading

from widedeep.serving.engine.slots import Slots

WAIT_S = 10.0


def test_as_many_can_be_taken_as_there_are() -> None:
    slots = Slots(2)
    assert slots.try_take()
    assert slots.try_take()
    assert not slots.try_take()
    slots.give_back()
    assert slots.free == 1


def test_several_are_taken_together_or_not_at_all() -> None:
    slots = Slots(3)
    assert not slots.try_take(4)
    assert slots.try_take(3)
    slots.give_back(3)
    assert slots.free == 3


def test_a_slot_that_is_given_back_goes_to_who_waits_longest_and_to_no_one_that_comes_in_between() -> None:
    slots = Slots(1)
    slots.take()
    order: list[int] = []

    def wait(number: int) -> None:
        slots.take()
        order.append(number)
        slots.give_back()

    waiters = []
    for number in range(3):
        waiters.append(threading.Thread(target=wait, args=(number,)))
        waiters[-1].start()
        while len(slots._waiters) <= number:
            pass
    assert slots.is_wanted
    slots.give_back()
    assert not slots.try_take() or order == [0, 1, 2]
    for waiter in waiters:
        waiter.join(WAIT_S)
    assert order == [0, 1, 2]


def test_no_slot_is_lost_or_made_between_threads() -> None:
    slots = Slots(3)
    lock, most, running = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal most, running
        for _ in range(300):
            slots.take()
            with lock:
                running += 1
                most = max(most, running)
            with lock:
                running -= 1
            slots.give_back()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert slots.free == 3
    assert most <= 3
