"""What people look at: plots of a fit, and a report on it in text and on one page."""
