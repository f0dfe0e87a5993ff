"""The search for hyperparameters: choose, build, train, measure on validation rows, choose next.

One loop and one record (an Optuna study, in SQLite where it must survive), whichever sampler chooses. Knows no model
and no data: what is tried is a point of a `Space`, and what comes of it is a loss and a latency.
"""
