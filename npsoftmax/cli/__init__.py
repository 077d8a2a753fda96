"""The command line: one module a command; what several of them share begins with an underscore."""
