"""TLS: what listeners accept with and what upstreams are connected with, from files that may change."""
