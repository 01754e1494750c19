"""What every command shares: the command line, signals, files written whole, JSON, progress."""
