"""Labelled audio -> sharded TFRecords of log-mel spectrograms, as an Apache Beam job."""
