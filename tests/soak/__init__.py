"""What holds over a long time: ``make soak-restarts``, and a short form of it in ``make test``."""
