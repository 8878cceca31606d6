"""Figures that plots and sections of a report share: computed once, drawn and written from there."""
