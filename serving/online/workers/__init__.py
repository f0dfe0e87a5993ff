"""Several processes that serve one port as one server: a supervisor and its workers.

    supervisor   owns the repository's state and the port, replaces workers that die; no gRPC, no sessions
    nursery      a single-threaded process that has imported everything and forks workers; replaced, too
    worker       one process with a `Server` of its own, whose repository is a replica that follows the supervisor's
    control      the private socket between supervisor and worker
    board        the memory that all of them share: what is current, whether to accept work, how much waits where

A client cannot tell how many workers there are: a change of the repository is prepared in all, then becomes current
in all with one write to the board; statistics are summed over all; and limits are held against the sum of what waits.
"""
