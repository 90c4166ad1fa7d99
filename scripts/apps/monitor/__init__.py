"""A page with the newest tagged sounds, and the corrections that people make there."""
