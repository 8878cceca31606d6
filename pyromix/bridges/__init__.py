"""Other people's types: pgmpy models, Pyro programs, files."""
