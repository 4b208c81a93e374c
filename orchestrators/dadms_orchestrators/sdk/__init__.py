"""What an orchestrator is built with: its side of the kernel port, the loading and calling of handlers, and its line to the bus."""
