"""Drift: whether what comes in is still what the model has learnt. Measuring is pure; watching is the deed."""
