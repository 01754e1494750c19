"""The page of trainer.listen: its files, the application that answers it, and the bounds on what that can be asked."""
