"""The detection engine. Pure."""
