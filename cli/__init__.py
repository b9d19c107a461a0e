"""The command `dnnc`: one module a command, each with `configure(parser)` and `run(arguments) -> exit status`."""
