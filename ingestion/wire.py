"""Messages as they arrive: bytes to columns, or a reject with a reason. Pure."""
