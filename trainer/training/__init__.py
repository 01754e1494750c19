"""How a job is trained: recipes, epochs, what is saved, and how it goes on."""
