"""The data plane: one request's straight line from the client's bytes to the upstream's and back."""
