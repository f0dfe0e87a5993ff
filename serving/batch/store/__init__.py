"""The output folder of a batch job: its parts, its rejected rows, and what is on record of it.

    output      files that appear whole or not at all, on any file system
    parts       part files: Parquet (cut by `groups`), CSV (`flat`), JSON lines (`json_text`)
    rejects     files of rejected rows
    ownership   whether a folder may be a job's
    lock        one job at a time
    journal     the files of the record: the job, its tasks, its inputs, the segments of results, the manifest
    record      which tasks are done, with their counts
    recorder    when results are put on record
    changes     in what two jobs differ, in words
    store       begins or resumes a job, records results, finishes it: what the driver calls

Workers write parts and reject files; the driver alone holds the lock and writes everything else.
"""
