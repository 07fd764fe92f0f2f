"""How fast: `python -m bench door|drain|latency|all`, each on stores of its own.

Shared machines are noisy: compare ratios of one run, not figures of two.
"""
