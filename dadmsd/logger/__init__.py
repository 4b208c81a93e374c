"""The logger: drains the pipes that are stdout and stderr of processes into a file for each of them."""
