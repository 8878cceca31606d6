"""Sections of the report, in files by what they are about; ``compose`` puts them in order."""
