"""Pages, pictures and tables (for terminals and Markdown) of results."""
