"""The subcommands of ``longview`` that follow runs: one module each, imported only when asked for."""
