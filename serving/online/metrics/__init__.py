"""What an operator sees of a server: Prometheus metrics, HTTP health and a status page, on a port of their own.

    observer     what one process has served and refused so far; `observation` is what it says of that
    snapshot     what there is to know of a whole server at one moment, be it one process or several workers
    families     a snapshot as metric families; `exposition` writes them as text
    status       a snapshot as what the status page shows; `page` renders that
    routes       which path is answered with what; `listener` is the HTTP server below

Nothing is counted here but refusals: counters are kept where calls are served (`online.statistics`) and read when
somebody asks. No module here imports what runs a model, so that the supervisor of several workers can answer for them.
"""
