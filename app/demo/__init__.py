"""A pretend SaaS on a pretend Stripe, and pretend analytics tools: for the demo and for tests."""
