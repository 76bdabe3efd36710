"""History from files: recognised, looked at, then brought in through the history stream.

`sensors.tables` opens and reads, `columns` matches, `rows` joins, `fates` says what will become of each row, `messages`
writes them for the stream: all without Django. `looking` foretells, `bringing` does it in `legs` that a crash may cut,
`jobs` is what people ask for; command, page and API only ask and show.
"""
