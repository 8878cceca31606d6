"""From a model and a table to a fit: the stages in order, their record, their bundle."""
