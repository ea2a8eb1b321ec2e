"""Compare several trainings."""

STUDY_NAMES = ("baselines", "modules", "views", "networks", "dimensions")
"""What can be compared; `variants.STUDIES` has the rows of each."""
