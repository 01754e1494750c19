"""From what a user names (a folder, a glob, a CSV, an archive) to a list of labelled tracks."""
