"""Whether readings flow: who is silent, whose clock is wrong, whether the path keeps up, and how long a reading takes.

watch and skew judge, purely; looking reads what they need and says what they found; canary follows a marked reading.
"""
