"""The kernel's decisions: events go in, changed rows and effects come out, and nothing else happens."""
