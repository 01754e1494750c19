"""Use a trained model: recognize files, export it as a SavedModel, serve the page of trainer.listen."""
