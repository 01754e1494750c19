"""Every fold tested on: the trainings, their pooled predictions, tables and report."""
