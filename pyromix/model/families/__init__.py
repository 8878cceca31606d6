"""Conditional distributions of vertices that are numbers, or have numbers for parents."""
