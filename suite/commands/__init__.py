"""The commands, one family a file. Nothing heavy is imported before a command needs it."""
