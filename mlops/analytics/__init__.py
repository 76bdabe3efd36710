"""What hourly values have in them: periods that repeat, and pairs that move together. Pure."""
