"""What a trained model is worth: predictions and the scores made of them."""
