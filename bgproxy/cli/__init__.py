"""The command line: asks the admin API, and shows what it answers."""
