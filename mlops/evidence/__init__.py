"""Evidence: what was known when an alert was raised, kept so that nobody can change it and everybody can check it."""
