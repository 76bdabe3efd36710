"""History from files: recognised, looked at, then brought in through the history stream.

`sensors.tables` opens and reads, `columns` matches, `rows` joins, `fates` says what will become of each row, `messages`
writes them for the stream: all without Django. `deed` does it; the command only asks and shows.
"""
