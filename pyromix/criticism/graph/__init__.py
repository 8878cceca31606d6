"""Whether a table asks for edges that a graph has not, or can do without some that it has."""
