"""Alerts that belong together: one cause, one incident, one message."""
