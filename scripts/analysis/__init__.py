"""What to do with finished runs."""
