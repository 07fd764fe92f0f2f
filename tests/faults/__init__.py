"""Real processes, killed, frozen and cut off in the middle of their work."""
