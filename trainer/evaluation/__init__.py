"""Scores of models; cross-validation, including its trainings; comparisons. No pages."""
