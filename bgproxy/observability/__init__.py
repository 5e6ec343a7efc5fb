"""What people and machines may watch: logs, events, metrics."""
