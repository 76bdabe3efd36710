"""Rules that people write beside the models: what they say, how they are judged, and what they would have done."""
