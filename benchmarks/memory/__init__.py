"""What slow peers and idle connections cost a worker in memory, held against what is promised."""
