"""Who comes to the SaaS, and what it sells: drawn from a seed, the same every time."""

from collections.abc import Mapping
from random import Random
from typing import Literal

from app.demo.books import VERSIONS, Coupon, Customer, Plan, Visitor, stripe_id

PLANS: tuple[tuple[str, Literal["month", "year"], Mapping[str, int]], ...] = (
    ("Starter", "month", {"usd": 1900, "eur": 1800, "jpy": 2200}),
    ("Pro", "month", {"usd": 4900, "eur": 4500, "jpy": 5800}),
    ("Team", "month", {"usd": 1250, "eur": 1195, "jpy": 1500}),
    ("Pro Yearly", "year", {"usd": 49_000, "eur": 45_000, "jpy": 58_000}),
)
CURRENCIES = ("usd", "usd", "usd", "eur", "eur", "jpy")
COUNTRIES = {"usd": "US", "eur": "DE", "jpy": "JP"}
TAXES = {"usd": (825, 0.3), "eur": (1900, 0.6), "jpy": (1000, 0.5)}  # basis points, share of people
CAMPAIGNS = (
    {"utm_source": "google", "utm_medium": "cpc", "utm_campaign": "brand"},
    {"utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "spring_launch"},
    {"utm_source": "github", "utm_medium": "referral", "utm_campaign": "readme"},
)
PAGES = ("/", "/pricing", "/blog/webhooks", "/compare")

Catalogue = Mapping[str, Mapping[str, Plan]]


def catalogue(rng: Random, created: int) -> Catalogue:
    """Every plan in every currency: `catalogue(...)["eur"]["Pro"]`."""
    products = {name: stripe_id(rng, "prod_", 14) for name, _, _ in PLANS}
    return {
        currency: {
            name: Plan(
                name=name,
                price=stripe_id(rng, "price_1", 23),
                product=products[name],
                currency=currency,
                amount=amounts[currency],
                interval=interval,
                created=created,
            )
            for name, interval, amounts in PLANS
        }
        for currency in COUNTRIES
    }


def coupons(rng: Random, created: int) -> tuple[Coupon, ...]:
    """A fifth off for good, and a quarter off for a year."""
    return tuple(
        Coupon(id=stripe_id(rng, "", 8).upper(), percent=percent, months=months, created=created)
        for percent, months in ((20, None), (25, 12))
    )


def visitor(rng: Random, number: int) -> Visitor:
    """Somebody in a browser, come from somewhere."""
    digits = f"{rng.getrandbits(128):032x}"
    device = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    campaign = dict(rng.choice(CAMPAIGNS)) if rng.random() < 0.6 else {}
    campaign["referrer"] = rng.choice(("https://www.example.com/", "https://search.example.com/"))
    campaign["landing_page"] = rng.choice(PAGES)
    if rng.random() < 0.4:
        campaign["consent"] = rng.choice(("a1d0", "a1d1"))
    return Visitor(
        user_id=f"user_{number:06d}",
        device_id=device,
        prefix="br_" if rng.random() < 0.25 else "",
        reach="everything" if rng.random() < 0.75 else "session",
        campaign=campaign,
    )


def customer(
    rng: Random,
    number: int,
    created: int,
    *,
    livemode: bool,
    version: str | None = None,
    known: bool = True,
    offers: tuple[Coupon, ...] = (),
) -> Customer:
    """Somebody who will pay; `known` False: the checkout page saved nothing about them."""
    currency = rng.choice(CURRENCIES)
    rate, taxed = TAXES[currency]
    tax = stripe_id(rng, "txr_1", 23) if rng.random() < taxed else None
    return Customer(
        id=stripe_id(rng, "cus_", 14),
        number=number,
        version=version or rng.choice(VERSIONS),
        livemode=livemode,
        created=created,
        currency=currency,
        country=COUNTRIES[currency],
        payment_method=stripe_id(rng, "pm_1", 23),
        tax_rate=tax,
        tax_basis_points=rate if tax else 0,
        coupon=rng.choice(offers) if offers and rng.random() < 0.1 else None,
        visitor=visitor(rng, number) if known else None,
    )
