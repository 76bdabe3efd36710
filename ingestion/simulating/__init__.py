"""Simulated sensors whose truth is known."""
