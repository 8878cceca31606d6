"""Exact sums over tables and rows: likelihood, information, elimination, sampling."""
