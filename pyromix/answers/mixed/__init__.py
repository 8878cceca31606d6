"""Questions to mixtures in which some variables are numbers."""
