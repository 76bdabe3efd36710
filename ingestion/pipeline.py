"""From messages to judged, scored batches. Pure."""
