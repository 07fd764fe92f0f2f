"""Forgetting a person, and what keeps them forgotten."""
