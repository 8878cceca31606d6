"""Graphs that a table allows where nobody has one: experimental."""
