"""Where a request goes: pure decisions over a compiled snapshot. No sockets, no clocks, no awaits."""
