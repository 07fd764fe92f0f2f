"""What is wrong, and what to do about it: settings and stores, Stripe's endpoint and key, and what
waits for a person. `examine` looks at all of it, a worker's start at Stripe's part."""
