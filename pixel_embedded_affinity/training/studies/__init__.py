"""Compare several trainings."""
