"""The world: processes, sockets, files and time."""
