"""A stack of our own on one machine: real stores, and the processes beside them, kept in order."""
