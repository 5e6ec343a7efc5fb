"""Active health checking: what is probed, how one probe is done, and what the results amount to."""
