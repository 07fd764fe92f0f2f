"""What a subscription is worth a month: prices and tiers, discounts, and which state stands."""
