"""The pages, their addresses and what they show."""
