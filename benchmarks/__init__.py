"""Each claim of speed or accuracy as a command, and what these share."""
