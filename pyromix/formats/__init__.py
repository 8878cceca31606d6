"""Other people's files: read and written without losing anything unsaid."""
