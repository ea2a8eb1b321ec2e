"""Training: recipes, data, losses and the loop. `run.train` is the way in; inference imports none of it."""
