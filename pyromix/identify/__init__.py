"""Moments to mixture, and what the graph allows: so far the local certificate."""
