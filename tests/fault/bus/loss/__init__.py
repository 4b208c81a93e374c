"""Messages under fire: senders, receivers, bus and kernel are killed and stopped at random, and every acknowledged message is accounted for."""
