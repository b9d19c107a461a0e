"""One transformation a file, from module to module; `pipeline` is the list."""
