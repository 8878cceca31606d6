"""Reports and plots of fits with numbers."""
