"""Training: recipes, data, losses and the loop. Start at `run.train`; inference imports nothing from here."""
