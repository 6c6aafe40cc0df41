"""The trainings of the comparison methods; apart, since a registered model carries their networks alone."""
