from widedeep.export.train.dispatch import Standing, next_kind

QUICK = Standing("linear", n_started=1, n_scored=1, best_loss=0.5, mean_s=1.0, spent_s=1.0)
SLOW = Standing("mlp", n_started=1, n_scored=1, best_loss=0.4, mean_s=30.0, spent_s=30.0)


def test_kinds_that_were_not_tried_come_first_and_in_their_order():
    assert next_kind([QUICK, Standing("b"), Standing("c")], 100.0) == "b"


def test_nothing_begins_once_the_time_is_up():
    assert next_kind([Standing("a")], 0.0) is None


def test_a_kind_whose_trials_take_longer_than_what_is_left_is_not_begun():
    assert next_kind([QUICK, SLOW], 20.0) == "linear"
    assert next_kind([SLOW], 20.0) is None


def test_a_kind_is_left_alone_while_its_first_trial_runs():
    running = Standing("a", n_started=1, n_running=1, spent_s=0.1)
    assert next_kind([running, QUICK], 100.0) == "linear"
    assert next_kind([running], 100.0) == "a", "unless there is no other"


def test_a_kind_that_only_fails_is_given_up():
    failing = Standing("a", n_started=2, n_failed=2)
    assert next_kind([failing, QUICK], 100.0) == "linear"
    assert next_kind([failing], 100.0) is None


def test_a_better_kind_gets_more_time_and_every_kind_gets_some():
    spent = {"best": 0.0, "middle": 0.0, "worst": 0.0}
    losses = {"best": 0.1, "middle": 0.2, "worst": 0.3}
    for _ in range(100):
        standings = [
            Standing(kind, n_started=1, n_scored=1, best_loss=losses[kind], mean_s=1.0, spent_s=spent[kind])
            for kind in spent
        ]
        kind = next_kind(standings, 1000.0)
        assert kind is not None
        spent[kind] += 1.0
    assert spent["best"] > spent["middle"] > spent["worst"] > 20
