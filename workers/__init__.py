"""The RQ side: a worker that is rung, and the sweep that needs no ringing."""
