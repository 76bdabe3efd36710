"""The API of what is ingested, and of the deeds around it."""
