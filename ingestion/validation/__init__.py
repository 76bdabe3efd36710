"""Validation: how good a stretch of stored readings is, in figures with limits, made alike through every door.

Pure: `rows` walks the lake a few days at a time, `figures` adds up what it sees, `checks` judges, `tables` tells it by
mote and channel, `failing` finds the readings behind a verdict. With the database: `gathering` collects what they look
at, `reports` asks for a report, makes it, keeps it and compares it with the last one.
"""
