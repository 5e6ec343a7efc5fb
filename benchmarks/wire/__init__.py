"""Judges HTTP/1.1 reverse proxies from the outside: raw bytes in, raw bytes out, on real sockets."""
