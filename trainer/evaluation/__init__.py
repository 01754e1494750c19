"""Predictions, metrics, cross-validation and comparisons: numbers only."""
