"""The page of trainer.listen: its files, the server that answers it, and the bounds on what that can be made to do."""
