"""Measures servers of the same ensemble against each other: same machine, same client, same bundle, in turn.

    bundles -> contenders, each started in turn -> callers and perf_analyzer -> results.json -> report and plots

`bench/servers.py` is the command.
"""
