"""EM for rows of states and numbers."""
