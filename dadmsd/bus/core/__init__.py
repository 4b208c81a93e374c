"""What the bus decides: events in, effects out, without a socket, a clock or a file."""
