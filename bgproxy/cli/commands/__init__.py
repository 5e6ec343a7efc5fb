"""The commands, in files by what they concern."""
