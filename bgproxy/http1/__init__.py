"""HTTP/1.1 as bytes: pure functions over what was read, without sockets, clocks or policy."""
