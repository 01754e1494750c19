"""A trained model put to use: on files, and as a SavedModel that needs nothing of this project."""
