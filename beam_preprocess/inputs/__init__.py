"""Lists the tracks of an input (a folder, a glob, a CSV or an archive), with labels and parts from its folders."""
