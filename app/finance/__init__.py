"""Finance: Stripe's balance against ledger and destinations, months closed, files written."""
