"""When nobody is to be disturbed, and when nothing is to be learnt: silences and maintenance."""
