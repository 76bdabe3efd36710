"""Other protocols' messages, made readings and appended to the stream."""
