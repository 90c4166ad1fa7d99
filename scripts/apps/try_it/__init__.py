"""A page to drop a song on."""
