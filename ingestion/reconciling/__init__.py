"""Recounts both stores against the books, hour by hour, and mends one store from the other."""
