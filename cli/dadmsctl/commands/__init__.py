"""The commands, one file a group; cli.py names them, and loads the one that is asked for."""
