"""What the parts of a request cost in machine instructions, and a guard that notices when that changes."""
