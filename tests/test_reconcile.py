"""A month with a defect of every kind: each is named as planted, by the API and by CSV alike."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from stripe import RequestsClient

from app.cli.reconcile_text import as_plain
from app.core.analytics import AnalyticsEvent, Identity, dedupe_id
from app.core.money import Money
from app.core.outcome import Skipped
from app.destinations import KINDS, build
from app.destinations.base import Destination
from app.finance import correct, legs
from app.finance.reconcile import Asked, Incomplete, Report, reconcile
from app.finance.snapshot import File, Snapshot, by_api, by_csv
from app.history.listing import Pace
from app.process import process
from app.release import release_ended_holds
from app.settings import Settings
from app.store import bulk, reconciles
from app.stripe_api import StripeApi
from tests.fake_stripe import FakeStripe, fake_stripe
from tests.reconcile_month import DAY, MARCH, NOON, NOW, Month, clean, planted
from tests.test_process import an_invoice, rows

KEY = "rk_live_plantedPLANTED0123456789"
OWN = ("", True)


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's second try comes at once."""
    monkeypatch.setattr(RequestsClient, "_sleep_time_seconds", lambda *_: 0.0)


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with fake_stripe(key=KEY) as running:
        yield running


@pytest.fixture
def berlin(settings: Settings) -> Settings:
    return replace(settings, timezone="Europe/Berlin", stripe_api_key=KEY)


def asked(stripe: FakeStripe | None = None, **given: Any) -> Asked:
    api = StripeApi(KEY, stripe.base) if stripe else None
    values: dict[str, Any] = {"period": MARCH, "account": "", "livemode": True, "who": "finance"}
    return Asked(**values | {"now": NOW, "api": api} | given)


def listed(stripe: FakeStripe, **given: Any) -> Snapshot:
    api = StripeApi(KEY, stripe.base)
    pace = Pace(given.pop("sleep", lambda _: None))
    return by_api(api, "", MARCH, pace, NOW, given.pop("told", lambda _: None), **given)


def filed(month: Month, *summaries: File) -> Snapshot:
    return by_csv(File("balance.csv", month.as_csv()), list(summaries), MARCH, NOW)


def found(report: Report) -> list[tuple[Any, ...]]:
    """All that did not simply match."""
    return sorted(
        (one.subject, one.kind, one.reason, one.currency, one.stripe, one.ledger)
        for one in report.results
        if one.kind != "matched"
    )


def plain(report: Report) -> dict[str, Any]:
    """The report, but for which run it was and what it was read from."""
    return {
        name: value for name, value in as_plain(report).items() if name not in ("run", "source")
    }


def without_steps(report: Report) -> dict[str, Any]:
    found = plain(report)
    return {**found, "results": [{**one, "next": ""} for one in found["results"]]}


PLANTED = [
    ("ch_11", "missing_in_ledger", "no_event", "eur", 1190, None),
    ("ch_12", "missing_in_ledger", "event_failed", "eur", 1190, None),
    ("ch_20", "partial_payment", "open_invoice", "eur", 400, None),
    ("ch_21", "unattributed", "", "eur", 1190, None),
    ("payment:in_14", "amount_difference", "unit_scale", "eur", 1190, 119_000),
    ("payment:in_16", "fee_difference", "changed", "eur", 1190, 1190),
    ("payment:in_17", "period_timezone", "another_period", "eur", 1190, None),
    ("payment:in_18", "late_adjustment", "closed_period", "eur", 1190, 1190),
    ("payment:in_19", "missing_in_stripe", "out_of_band", "eur", None, 1190),
    ("payment:in_22", "amount_difference", "tax_in_or_out", "eur", 1190, 1000),
    ("payment:in_23", "currency_difference", "settled_amount", "eur", 1190, None),
    ("payment:in_23", "currency_difference", "settled_amount", "usd", None, 1290),
    ("payment:in_24", "missing_in_stripe", "test_vs_live", "eur", None, 1190),
    ("payment:pi_13", "duplicate_in_ledger", "payment", "eur", None, 1190),
    ("refund:re_15", "amount_difference", "sign", "eur", -250, 250),
    ("txn_fee", "missing_in_ledger", "not_event_driven", "eur", -500, None),
    ("txn_news", "out_of_scope", "unknown_category", "eur", 700, None),
    ("txn_po", "out_of_scope", "payout", "eur", -9000, None),
]


# What the source before said otherwise is put right by the run that names it.
FROM_THEN_ON = [one for one in PLANTED if one[1] != "fee_difference"]


def test_every_planted_defect_is_named_and_nothing_else_by_api_and_by_csv_alike(
    engine: Engine, berlin: Settings, stripe: FakeStripe
) -> None:
    month = planted(engine, berlin)
    month.at_stripe(stripe)

    first = reconcile(engine, berlin, asked(stripe), listed(stripe))
    assert found(first) == PLANTED
    by_list = reconcile(engine, berlin, asked(stripe), listed(stripe))
    by_file = reconcile(engine, berlin, asked(stripe), filed(month))
    without_key = reconcile(engine, berlin, asked(), filed(month))

    assert found(by_list) == FROM_THEN_ON
    assert plain(by_file) == plain(by_list)
    assert without_steps(without_key) == without_steps(by_list)
    steps = {one["subject"]: one["next"] for one in plain(without_key)["results"]}
    key = "Set STRIPE_API_KEY (live mode), then: "
    assert steps["ch_11"] == (f"{key}bridge gap; or resend the webhook event in Stripe's dashboard")
    assert (by_list.verdict, by_list.agrees) == ("differences", False)
    assert by_list.warnings == [
        "Reporting categories that the bridge does not know: stablecoin_yield"
    ]
    assert [one for one in by_list.checks if one.foots is False] == []
    [failed] = [one for one in by_list.results if one.reason == "event_failed"]
    [[event_id]] = rows(engine, "SELECT event_id FROM webhook_events WHERE verdict = 'quarantined'")
    assert failed.next_step == f"bridge replay {event_id}"
    [early] = [one for one in by_list.results if one.kind == "period_timezone"]
    assert (str(early.stripe_date), str(early.ledger_date)) == ("2025-03-31", "2025-04-01")


def test_a_clean_month_agrees_in_every_currency_and_the_run_is_kept(
    engine: Engine, berlin: Settings, stripe: FakeStripe
) -> None:
    month = clean()
    month.live(engine, berlin)
    month.at_stripe(stripe)

    report = reconcile(engine, berlin, asked(stripe), listed(stripe))
    again = reconcile(engine, berlin, asked(), filed(month))

    assert (report.verdict, report.agrees, again.verdict) == ("clean", True, "clean")
    assert plain(again) == plain(report)
    assert [
        (one["part"], one["currency"], one["stripe"], one["ledger"])
        for one in plain(report)["totals"]
    ] == [
        ("dispute reversals", "eur", 1190, 1190),
        ("disputes", "eur", -1190, -1190),
        ("payments", "eur", 7190, 7190),
        ("payments", "jpy", 1299, 1299),
        ("refund failures", "eur", 250, 250),
        ("refunds", "eur", -500, -500),
    ]
    last = _latest(engine)
    assert last is not None
    assert (last.id, last.verdict, last.delivered, last.source) == (2, "clean", True, "csv")
    assert last.snapshot_sha256 == report.snapshot.sha256
    assert rows(engine, "SELECT count(*) FROM settlements") == [(12,)]
    assert rows(engine, "SELECT settlement FROM settled_entries WHERE key = 'payment:pi_5'") == [
        ("txn_5",),
        ("txn_5r",),
    ]
    assert rows(engine, "SELECT run, class, subject FROM reconcile_results ORDER BY 1, 2") == [
        (1, "missing_in_ledger", "txn_fee"),
        (1, "out_of_scope", "txn_po"),
        (2, "missing_in_ledger", "txn_fee"),
        (2, "out_of_scope", "txn_po"),
    ]


def test_however_little_is_read_at_a_time_the_report_is_the_same(
    engine: Engine, berlin: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    month = planted(engine, berlin)
    monkeypatch.setattr(bulk, "BATCH", 1)
    monkeypatch.setattr(bulk, "MANY", 1)

    for expected in (PLANTED, FROM_THEN_ON):  # the second finds all settlements kept
        report = reconcile(engine, berlin, asked(), filed(month))

        assert found(report) == expected
    kept = len(FROM_THEN_ON)
    assert rows(engine, "SELECT count(*) FROM reconcile_results WHERE run = 2") == [(kept,)]


def _latest(engine: Engine) -> reconciles.Run | None:
    with engine.connect() as connection:
        return reconciles.latest(connection, OWN, MARCH.start, MARCH.end, "Europe/Berlin")


def test_a_run_of_other_days_or_another_zone_is_not_this_periods(engine: Engine) -> None:
    assert _latest(engine) is None


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("settlements", "fee"),
        ("settled_entries", "key"),
        ("reconcile_runs", "verdict"),
        ("reconcile_results", "note"),
    ],
)
def test_nothing_of_a_run_can_be_changed_later(
    engine: Engine, berlin: Settings, table: str, column: str
) -> None:
    month = clean()
    month.live(engine, berlin)
    reconcile(engine, berlin, asked(), filed(month))

    update, delete = f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"
    for statement in (update, delete, f"TRUNCATE {table} CASCADE"):
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(text(statement))


# --- the source


def test_a_period_that_has_not_ended_proves_nothing(engine: Engine, berlin: Settings) -> None:
    month = clean()
    month.live(engine, berlin)
    middle = MARCH.bounds(-10)[1]
    snapshot = by_csv(File("balance.csv", month.as_csv()), [], MARCH, middle)

    with pytest.raises(Incomplete, match=r"^the period has not ended$"):
        reconcile(engine, berlin, asked(now=middle), snapshot)
    partial = reconcile(engine, berlin, asked(now=middle, allow_partial=True), snapshot)

    assert (partial.verdict, partial.agrees) == ("incomplete", True)
    assert partial.warnings == [
        "source_incomplete: the period has not ended. This run proves nothing for a month's close."
    ]


def test_a_file_that_ends_early_is_complete_only_if_a_summary_says_so(
    engine: Engine, berlin: Settings
) -> None:
    month = clean()
    [payout] = [one for one in month.transactions if one["id"] == "txn_po"]
    payout["created"] -= 10 * 86_400
    month.live(engine, berlin)

    assert filed(month).lacks == (
        "the last row of balance.csv is of 2025-03-21, and no summary proves that there are no"
        " others"
    )
    report = reconcile(engine, berlin, asked(), filed(month, *summaries()))
    assert (report.verdict, [one.foots for one in report.checks if one.foots is not True]) == (
        "clean",
        [],
    )


def summaries() -> list[File]:
    """Stripe's own two, of the clean month."""
    activity = "reporting_category,currency,count,gross,fee,net\n" + "".join(
        f"{line}\n"
        for line in (
            "charge,eur,2,25.90,0.94,24.96",
            "charge,jpy,1,1299,40,1259",
            "charge,usd,1,54.00,0.47,53.53",
            "dispute,eur,1,-11.90,20.00,-31.90",
            "dispute_reversal,eur,1,11.90,0.00,11.90",
            "fee,eur,1,-5.00,0.00,-5.00",
            "partial_capture_reversal,eur,1,-4.00,0.00,-4.00",
            "refund,eur,2,-5.00,0.00,-5.00",
            "refund_failure,eur,1,2.50,0.00,2.50",
        )
    )
    balances = "category,description,net_amount,currency\n" + "".join(
        f"{name},,{amount},{currency}\n"
        for currency, amounts in (
            ("eur", ("200.00", "-6.54", "-90.00", "103.46")),
            ("usd", ("0.00", "53.53", "0.00", "53.53")),
            ("jpy", ("0", "1259", "0", "1259")),
        )
        for name, amount in zip(
            ("starting_balance", "activity", "payouts", "ending_balance"), amounts, strict=True
        )
    )
    return [File("activity.csv", activity.encode()), File("balances.csv", balances.encode())]


def test_a_summary_that_does_not_foot_is_a_difference(engine: Engine, berlin: Settings) -> None:
    month = clean()
    month.live(engine, berlin)
    activity, balances = summaries()
    wrong = File("activity.csv", activity.content.replace(b"25.90,0.94,24.96", b"25.91,0.94,24.97"))

    report = reconcile(engine, berlin, asked(), filed(month, wrong, balances))

    assert (report.verdict, report.agrees) == ("differences", False)
    assert [
        (one.name, one.currency, one.expected, one.found)
        for one in report.checks
        if one.foots is False
    ] == [("charge gross", "eur", 2591, 2590), ("charge net", "eur", 2497, 2496)]


def test_a_long_list_is_read_page_by_page_and_as_slowly_as_stripe_asks(
    engine: Engine, berlin: Settings, stripe: FakeStripe
) -> None:
    month = Month()
    for number in range(1, 251):
        month.paid(number)
    month.at_stripe(stripe)
    stripe.fail("/v1/balance_transactions", 429, times=2, headers={"Retry-After": "7"})
    waits: list[float] = []
    pages: list[int] = []

    snapshot = listed(stripe, sleep=waits.append, told=pages.append)

    assert (len(snapshot.rows), pages) == (250, [100, 100, 50])
    assert len(waits) == 2
    assert min(waits) >= 7
    assert snapshot.sha256 == filed(month).sha256


def test_a_month_of_payments_that_pay_unknown_invoices_asks_stripe_which(
    engine: Engine, berlin: Settings, stripe: FakeStripe
) -> None:
    month = Month()
    month.paid(1)
    month.told(1)
    month.events = [one for one in month.events if one["type"] == "invoice.paid"]
    month.live(engine, berlin)
    month.at_stripe(stripe)
    link = {"object": "invoice_payment", "id": "inpay_1", "invoice": "in_1", "created": 1}
    payment = {"type": "payment_intent", "payment_intent": "pi_1"}
    stripe.add({**link, "status": "paid", "payment": payment})

    report = reconcile(engine, berlin, asked(stripe), listed(stripe))

    assert (report.verdict, found(report)) == ("clean", [])


def test_an_invoice_that_no_payment_of_stripes_paid_is_out_of_band(
    engine: Engine, berlin: Settings, stripe: FakeStripe
) -> None:
    month = Month()
    month.told(1)
    month.events = [one for one in month.events if one["type"] == "invoice.paid"]
    month.live(engine, berlin)
    link = {"object": "invoice_payment", "id": "inpay_1", "invoice": "in_1", "created": 1}
    payment = {"type": "payment_record", "payment_record": "prec_1"}
    stripe.add(an_invoice("in_1", status="paid"))
    stripe.add({**link, "status": "paid", "payment": payment})

    report = reconcile(engine, berlin, asked(stripe), listed(stripe))

    assert found(report) == [
        ("payment:in_1", "missing_in_stripe", "out_of_band", "eur", None, 1190)
    ]


# --- the other legs


def test_the_second_leg_counts_what_every_destination_is_owed_and_was_told(
    engine: Engine, berlin: Settings, with_destinations: Callable[..., Settings]
) -> None:
    secret = "whsec_dGVzdHMtc2lnbi13aXRoLXRoaXMtb25l"
    told = with_destinations(
        amplitude={"api_key": "a" * 32, "url": "http://127.0.0.1:9/"},
        webhook={"url": "http://127.0.0.1:9/", "secret": secret, "events": "payment_*"},
    )
    both = replace(berlin, destinations=told.destinations, consent_unknown="send")
    month = clean()
    month.live(engine, both)
    _release(engine, both)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE deliveries SET state = 'delivered' WHERE destination = 'amplitude'")
        )
    report = reconcile(engine, both, asked(), filed(month))

    amplitude = report.told.destinations["amplitude", "eur"]
    assert (amplitude.owed.count, amplitude.owed.minor) == (8, 6940)
    assert {name: one.minor for name, one in amplitude.states.items()} == {"delivered": 6940}
    assert (str(amplitude.told), amplitude.wrong, amplitude.unsaid) == ("69.4", 0, 0)
    assert report.agrees

    with engine.begin() as connection:
        connection.execute(
            text("""
                UPDATE deliveries SET state = 'dead' FROM analytics_events e
                WHERE e.id = analytics_event_id AND e.key = 'refund:re_1';
                UPDATE deliveries SET payload = convert_to(
                    replace(convert_from(payload, 'UTF8'), '11.9,', '1190,'),
                    'UTF8')
                FROM analytics_events e WHERE e.id = analytics_event_id
                AND e.key = 'payment:in_1' AND destination = 'amplitude'
            """)
        )
    worse = reconcile(engine, both, asked(), filed(month))

    assert [(one.destination, one.key, str(one.told)) for one in worse.told.wrong] == [
        ("amplitude", "payment:in_1", "1190")
    ]
    assert worse.told.destinations["amplitude", "eur"].states["dead"].minor == -250
    assert (worse.verdict, worse.agrees) == ("clean", False)


def _release(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET due_at = clock_timestamp()"))
    while release_ended_holds(engine, settings):
        pass


def test_the_third_leg_says_what_the_browser_lost(engine: Engine, berlin: Settings) -> None:
    month = clean()
    month.live(engine, berlin)
    _release(engine, berlin)
    counted = b"date,channel,conversions\n2025-03-10,(none),3\n"
    browser = File("browser.csv", counted)

    report = reconcile(engine, berlin, asked(browser=browser), filed(month))

    assert report.lost is not None
    assert [(str(one.day), one.channel, one.ours, one.lost) for one in report.lost] == [
        ("2025-03-10", "(none)", 4, 1)
    ]


def put_right(engine: Engine, settings: Settings, key: str, to: str | None) -> None:
    wanted = correct.Asked(scope=OWN, key=key, to=to)
    with engine.begin() as connection:
        planned = correct.plan(connection, settings, wanted)
        correct.correct(connection, planned, who="ada", why="it is wrong")
    assert process(engine, settings) == 1


def test_an_entry_of_long_before_is_compared_with_its_corrections(
    engine: Engine, berlin: Settings
) -> None:
    month = Month()
    month.paid(30)
    month.told(30, 119_000, NOON - 40 * DAY, total=119_000, amount_due=119_000)
    month.live(engine, berlin)
    put_right(engine, berlin, "payment:in_30", "11.90")

    report = reconcile(engine, berlin, asked(allow_partial=True), filed(month))

    name = ("payment:in_30", "period_timezone", "another_period")
    assert (found(report), report.entries) == ([(*name, "eur", 1190, None)], 0)


def test_entries_are_counted_with_their_corrections_as_a_close_counts_them(
    engine: Engine, berlin: Settings
) -> None:
    month = clean()
    month.live(engine, berlin)
    before = reconcile(engine, berlin, asked(), filed(month)).entries
    put_right(engine, berlin, "payment:in_1", "12.00")
    put_right(engine, berlin, "payment:in_1", "11.90")

    report = reconcile(engine, berlin, asked(), filed(month))

    assert (report.verdict, report.entries) == ("clean", before + 2)
    assert ("matched", "corrected") in {(one.kind, one.reason) for one in report.results}


def test_the_third_leg_counts_what_payments_count_once_corrected(
    engine: Engine, berlin: Settings
) -> None:
    month = clean()
    month.live(engine, berlin)
    _release(engine, berlin)
    put_right(engine, berlin, "payment:in_1", None)
    put_right(engine, berlin, "payment:in_3", "40.00")
    browser = File("browser.csv", b"date,channel,conversions\n2025-03-10,(none),3\n")

    report = reconcile(engine, berlin, asked(browser=browser), filed(month))

    assert report.lost is not None
    [lost] = report.lost
    assert (lost.ours, lost.ours_minor) == (3, {"eur": 5000, "jpy": 1299})


OPTIONS = {
    "amplitude": {"api_key": "a" * 32},
    "ga4": {"measurement_id": "G-ABCD123456", "api_secret": "secretSECRET1234567890"},
    "meta": {"pixel_id": "1234567890", "access_token": "EAAB" + "a" * 40},
    "mixpanel": {"project_token": "a" * 32},
    "posthog": {"api_key": "phc_" + "a" * 40},
    "rudderstack": {"write_key": "a" * 32},
    "segment": {"write_key": "a" * 32},
    "warehouse": {"url": "postgresql://bridge:secret@127.0.0.1:9/facts"},
    "webhook": {"secret": "whsec_dGVzdHMtc2lnbi13aXRoLXRoaXMtb25l"},
}
URL = {"url": "http://127.0.0.1:9/"}
EVERYBODY = {
    "user_id": "user_7",
    "device_id": "dev_7",
    "ga_client_id": "1162820436.1749482504",
    "fbp": "fb.1.1749482504000.1098115397",
}
ITEMS = [{"product_id": "prod_pro", "name": "Pro", "price": 12.99, "quantity": 1}]


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("orders", [False, True], ids=["plain", "in a shop's words"])
@pytest.mark.parametrize(
    ("name", "money"),
    [
        ("payment_succeeded", Money(1299, "usd")),
        ("payment_succeeded", Money(1299, "jpy")),
        ("payment_succeeded", Money(1290, "kwd")),
        ("refund_created", Money(-1299, "usd")),
        ("refund_created", Money(-1299, "jpy")),
        ("refund_reversed", Money(1299, "usd")),
        ("dispute_funds_withdrawn", Money(-1299, "usd")),
        ("dispute_funds_reinstated", Money(1299, "usd")),
        ("revenue_corrected", Money(-1299, "usd")),
        ("revenue_corrected", Money(1299, "jpy")),
        ("trial_started", None),
    ],
)
def test_every_page_says_the_revenue_that_its_frozen_payload_tells(
    kind: str, orders: bool, name: str, money: Money | None
) -> None:
    page = a_page(kind, orders=orders)
    told = None if money is None else (money.major, money.currency)
    for items in ({}, {"items": ITEMS}):
        event = AnalyticsEvent(
            key="payment:in_1",
            account="",
            livemode=True,
            name=name,
            occurred_at=NOW,
            identity=Identity(ids=EVERYBODY),
            properties={"invoice_id": "in_1", "payment_intent_id": "pi_1", **items},
            revenue=money,
        )
        body = page.render(event, dedupe_id(page.name, event.id))
        if kind == "meta" and money is not None and name != "payment_succeeded":
            assert body == Skipped("Meta takes no refunds, disputed money or corrections")
        else:
            assert isinstance(body, bytes), body
            assert page.told(body) == told


def a_page(kind: str, *, orders: bool = False) -> Destination:
    words = {"orders": "on"} if orders and kind in ("segment", "rudderstack") else {}
    options = {"livemode": "both", **URL, **OPTIONS[kind], **words}
    page = build(kind, options, allow_local_urls=True)
    assert isinstance(page, Destination), page
    return page


def test_what_another_kind_of_page_froze_under_the_same_name_is_not_known(
    engine: Engine, berlin: Settings
) -> None:
    month = clean()
    before = replace(berlin, destinations=(a_page("amplitude"),), consent_unknown="send")
    month.live(engine, before)
    _release(engine, before)
    for kind in sorted(KINDS.keys() - {"amplitude"}):
        page = replace(a_page(kind), name="amplitude")
        with engine.connect() as connection:
            told = legs.destinations(connection, replace(before, destinations=(page,)), OWN, MARCH)
        place = told.destinations["amplitude", "eur"]
        assert (place.owed.minor, place.unsaid + place.wrong) == (6940, place.owed.count), kind
