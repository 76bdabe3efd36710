"""Programs that measure: each prints its figures, the last line as one JSON object."""
