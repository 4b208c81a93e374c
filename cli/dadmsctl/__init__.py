"""The command line of DADMS: each command reads what it was given, asks the daemon once, and shows the answer."""
