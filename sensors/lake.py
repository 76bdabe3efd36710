"""The lake: every message and every reading for good, as Delta tables in a folder or a bucket."""
