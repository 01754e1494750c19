"""The page of trainer.listen: its files, the application that answers requests, and the server with its bounds."""
