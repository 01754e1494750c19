"""Commands that try to break the preprocessing job, and say whether they did."""
