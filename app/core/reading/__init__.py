"""Stripe's JSON to facts; begin with `readers`. Where each field lives, `shapes` says."""
