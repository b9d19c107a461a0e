"""What executes: the reference machine for programs, plain interpreters for graphs and nests, the host."""
