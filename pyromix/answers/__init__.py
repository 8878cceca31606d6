"""Questions to a mixture or a fit, and their answers."""
