"""The `wskeeper` command: one module per subcommand."""
