"""Figures that plots and sections of a report share: worked out once, drawn and written."""
