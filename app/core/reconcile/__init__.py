"""Stripe's balance transactions against the ledger: pure rules, no database and no network."""
