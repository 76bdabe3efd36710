"""A file of somebody's own, judged in the browser or by the API: kept, looked at, judged in a process of its own, told.

`mlops.detect` does the judging and is the same as the command's; `runs` has its life, `results` what is kept of it.
"""
