"""Fits to tables with columns of numbers."""
