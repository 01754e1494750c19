"""Lists the labelled tracks of an input: a folder, a glob, a CSV or an archive."""
