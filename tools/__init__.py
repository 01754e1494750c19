"""Checks at full size, experiments, and what builds the documentation."""
