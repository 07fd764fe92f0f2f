"""A month of a pretend SaaS, seen from Stripe's side and from ours: the proof finance asks for."""
