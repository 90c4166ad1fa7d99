"""Tags the newest sounds of a source again and again."""
