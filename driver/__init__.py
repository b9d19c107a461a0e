"""The steps from a model to a program, its cost and its run: what the command line, Python and explorations share."""
