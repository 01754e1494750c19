"""Each claim of speed as a command that prints a ratio measured in one run."""
