"""What all commands share: the command line and its errors, signals, atomic files, checked JSON, terminal output."""
