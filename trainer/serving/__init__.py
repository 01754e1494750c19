"""Use a trained model: recognize files, export it, serve it as a page or over REST, embed, and find similar tracks."""
