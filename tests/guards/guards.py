"""The guards, each with the text that makes it and the tests that hold it."""

from tests.guards.run import Guard

DOOR = "tests/test_webhook_door.py"
SIGNATURE = "tests/core/test_signature.py"
HTTP = "tests/destinations/test_http.py"
JOBS = "tests/test_worker_jobs.py"
PROCESS = "tests/test_process.py"
DELIVER = "tests/test_deliver.py"

INGRESS = (
    Guard(
        "the signature is compared",
        "app/core/signature.py",
        "if any(hmac.compare_digest(expected, given) for given in signatures):",
        "if signatures or expected:",
        (f"{SIGNATURE}::test_a_v0_signature_counts_for_nothing", SIGNATURE),
    ),
    Guard(
        "a signature grows stale, and is none of the future",
        "app/core/signature.py",
        "if abs(now - timestamp) > TOLERANCE:",
        "if now - timestamp > TOLERANCE:",
        (f"{SIGNATURE}::test_beyond_300_seconds_either_way_is_stale_and_not_bad",),
    ),
    Guard(
        "a header is bounded",
        "app/core/signature.py",
        "len(header) > MAX_HEADER",
        "len(header) > 2**30",
        (f"{SIGNATURE}::test_a_header_may_be_4096_characters_long_and_no_more",),
    ),
    Guard(
        "signatures are bounded",
        "app/core/signature.py",
        'name == "v1" and len(signatures) < MAX_SIGNATURES',
        'name == "v1"',
        (f"{SIGNATURE}::test_the_sixteenth_signature_is_read_and_the_next_is_not",),
    ),
    Guard(
        "all secrets are tried",
        "app/core/signature.py",
        "    for label, secret in secrets:",
        "    for label, secret in list(secrets)[:1]:",
        (
            f"{SIGNATURE}::test_while_secrets_rotate_either_signs_and_its_label_says_which",
            SIGNATURE,
        ),
    ),
    Guard(
        "what JSON is not is no event",
        "app/core/envelope.py",
        "return json.loads(body, parse_constant=_refuse_constant)",
        "return json.loads(body)",
        ("tests/core/test_envelope.py",),
    ),
    Guard(
        "names are printable and short",
        "app/core/envelope.py",
        "not 0 < len(value) <= 255 or not _plain(value)",
        "not value",
        ("tests/core/test_envelope.py",),
    ),
    Guard(
        "a body is bounded",
        "app/web.py",
        'app.config["MAX_CONTENT_LENGTH"] = webhook.MAX_BODY',
        'app.config["MAX_CONTENT_LENGTH"] = None',
        (f"{DOOR}::test_two_mebibytes_are_refused_unread",),
    ),
    Guard(
        "only JSON is read",
        "app/webhook.py",
        '        if request.mimetype != "application/json":',
        "        if False:",
        (f"{DOOR}::test_only_json_is_read",),
    ),
    Guard(
        "a row that was not committed is no 200",
        "app/webhook.py",
        '            return 503, "not_kept"',
        '            return 200, "kept"',
        (f"{DOOR}::test_without_postgres_stripe_is_told_to_come_again",),
    ),
    Guard(
        "who posts much that no secret signed is told to stop",
        "app/webhook.py",
        'if word == "bad_signature" and self._strangers.refuse(address):',
        'if word == "bad_signature" and False:',
        (f"{DOOR}::test_who_posts_much_unsigned_is_told_to_stop_and_what_is_signed_is_kept",),
    ),
    Guard(
        "what a secret signed is never limited",
        "app/webhook.py",
        'if word == "bad_signature" and self._strangers.refuse(address):',
        "if self._strangers.refuse(address):",
        (f"{DOOR}::test_who_posts_much_unsigned_is_told_to_stop_and_what_is_signed_is_kept",),
    ),
    Guard(
        "Redis never changes the answer",
        "app/queue.py",
        """failure_ttl=600)
    except (RedisError, OSError) as error:""",
        """failure_ttl=600)
    except ZeroDivisionError as error:""",
        (f"{DOOR}::test_whatever_redis_does_the_answer_is_200_and_soon",),
    ),
)
UNDERSTANDING = (
    Guard(
        "join locks",
        "app/store/identities.py",
        "        SELECT pg_advisory_xact_lock(k)\n",
        "        SELECT k\n",
        (
            f"{PROCESS}::test_two_processes_that_each_hold_one_half_make_the_join_exactly_once",
            f"{PROCESS}::test_two_processes_of_which_one_holds_the_identity_release_what_the_other_tells",
        ),
    ),
    Guard(
        "the ledger is only added to",
        "alembic/versions/0001_the_record.py",
        "    RAISE EXCEPTION 'revenue_entries is append-only: book a correcting entry';",
        "    RETURN OLD;",
        (f"{PROCESS}::test_what_is_booked_cannot_be_changed",),
    ),
    Guard(
        "a payment that pays an invoice is not booked beside it",
        "app/store/ledger.py",
        """        AND NOT EXISTS (
            SELECT 1 FROM stripe_refs r WHERE r.child = p.payment AND NOT r.customer
            AND r.account = p.account AND r.livemode = p.livemode)
    \"\"\")
    rows = connection""",
        """    \"\"\")
    rows = connection""",
        (f"{PROCESS}::test_the_setting_books_no_payment_that_names_its_invoice",),
    ),
    Guard(
        "a session id rides only near the checkout",
        "app/core/identity.py",
        "if near or name not in SESSION_IDS}",
        "if True}",
        ("tests/core/test_identity.py",),
    ),
    Guard(
        "a silent payment of an invoice is no answer",
        "app/core/settle.py",
        "link for link in said if one_off and link.source",
        "link for link in said if link.source",
        ("tests/core/test_identity.py",),
    ),
    Guard(
        "only listed properties leave",
        "app/owe.py",
        "for name, value in properties.items() if name in leave}",
        "for name, value in properties.items()}",
        ("tests/test_one_payment.py::test_a_property_that_is_not_listed_does_not_leave",),
    ),
)
EGRESS = (
    Guard(
        "public addresses only",
        "app/destinations/sockets.py",
        "if not this_try.allow_local and not all(is_public(str(each[4][0])) for each in found):",
        "if False:",
        (f"{HTTP}::test_a_local_address_is_refused_before_anything_connects",),
    ),
    Guard(
        "all of a name's addresses are public",
        "app/destinations/sockets.py",
        "not all(is_public(",
        "not any(is_public(",
        (f"{HTTP}::test_a_name_with_one_private_address_among_public_ones_is_refused",),
    ),
    Guard(
        "an answer is bounded",
        "app/destinations/http.py",
        "        if len(kept) >= ANSWER_CAP:",
        "        if False:",
        (f"{HTTP}::test_a_megabyte_is_cut_at_the_cap",),
    ),
    Guard(
        "a deadline that dripping does not outlive",
        "app/destinations/sockets.py",
        """    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(this_try.left())
        return super().recv_into(*args, **kwargs)

    def sendall(""",
        """    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        return super().recv_into(*args, **kwargs)

    def sendall(""",
        (f"{HTTP}::test_dripping_bytes_do_not_outlive_the_deadline",),
    ),
    Guard(
        "certificates are verified",
        "app/destinations/http.py",
        "timeout=limits, verify=self._verify)",
        "timeout=limits, verify=False)",
        (f"{HTTP}::test_a_certificate_must_be_trusted_and_the_hosts_own",),
    ),
    Guard(
        "secrets do not reach the log",
        "app/log.py",
        "        name: SECRET.sub(HIDDEN, value) if isinstance(value, str) else value",
        "        name: value",
        ("tests/test_log.py",),
    ),
)
REDIS = (
    Guard(
        "one function runs and no other",
        "workers/jobs.py",
        "        if self.func_name != JOB or self.args or self.kwargs:",
        "        if False:",
        (f"{JOBS}::test_a_job_that_is_not_the_drain_is_refused",),
    ),
    Guard(
        "a planted success callback does not run",
        "workers/jobs.py",
        "    def execute_success_callback(",
        "    def no_success_callback(",
        (f"{JOBS}::test_nothing_planted_runs",),
    ),
    Guard(
        "a planted failure callback does not run",
        "workers/jobs.py",
        "    def execute_failure_callback(",
        "    def no_failure_callback(",
        (f"{JOBS}::test_nothing_planted_runs",),
    ),
    Guard(
        "a job's webhooks are not sent",
        "workers/jobs.py",
        "    def send_webhooks(",
        "    def no_webhooks(",
        (f"{JOBS}::test_a_jobs_webhooks_are_not_sent",),
    ),
)
ENGINE = (
    Guard(
        "no POST begins that could outlast its lease",
        "app/deliver.py",
        "if lane.stopping() or lane.ends - now < 2 * DEADLINE:",
        "if lane.stopping():",
        ("tests/test_deliver_once.py::test_no_post_begins_that_could_outlast_the_lease",),
    ),
    Guard(
        "whoever lost a lease finishes nothing",
        "app/store/deliveries.py",
        "    WHERE w.lane = :lane AND w.ref_id = v.id AND w.token = v.token",
        "    WHERE w.lane = :lane AND w.ref_id = v.id",
        (f"{DELIVER}::test_whoever_lost_a_lease_changes_nothing",),
    ),
    Guard(
        "what may have arrived is not sent twice where that is the setting",
        "app/finish.py",
        "case Retry(reason, unclear=True) if to.at_most_once(row.payload):",
        "case Retry(reason, unclear=True) if False:",
        (
            "tests/test_deliver_once.py"
            "::test_what_may_have_arrived_is_not_sent_again_if_the_setting_says_so",
        ),
    ),
    Guard(
        "a replay past the dedupe window is refused",
        "app/history/replay.py",
        "window is not None and dead.age > window.total_seconds()",
        "False",
        (
            "tests/test_replay.py"
            "::test_a_dead_delivery_past_the_window_is_refused_unless_duplicates_are_allowed",
        ),
    ),
    Guard(
        "one sweep leads",
        "app/store/leader.py",
        'f"SELECT pg_try_advisory_lock({SWEEP_LOCK})"',
        '"SELECT true"',
        ("tests/test_sweep.py::test_one_leads_and_goes_on_leading",),
    ),
    Guard(
        "a lane has so many slots",
        "app/slots.py",
        "            taken = work.take_slot(connection, lane, self._most, LEASE)",
        "            taken = work.take_slot(connection, lane, 1_000, LEASE)",
        (f"{DELIVER}::test_no_more_than_the_lanes_workers_post_at_once",),
    ),
    Guard(
        "nobody waits long for a writer that hangs",
        "app/together.py",
        "if self._hung and (self._waiting or self._writing):",
        "if False:",
        ("tests/test_together.py::test_while_the_writer_hangs_others_are_turned_away_at_once",),
    ),
    Guard(
        "a Postgres that falls silent is given up",
        "app/store/db.py",
        "            elif monotonic() - heard > patience:",
        "            elif False:",
        (f"{DOOR}::test_a_connection_whose_server_fell_silent_is_given_up_with_its_pool",),
    ),
)
PEOPLE = "tests/test_privacy.py"
WORDS = "tests/test_consent_and_conversions.py"
VISITORS = (
    Guard(
        "what waits is stopped by a later refusal",
        "app/deliver.py",
        "    refused = _refused(lane, rows)",
        "    refused: dict[int, tuple[str, str]] = {}",
        (f"{WORDS}::test_what_is_not_sent_yet_is_stopped_by_a_later_refusal",),
    ),
    Guard(
        "at one moment a refusal stands",
        "app/core/consent.py",
        "key=lambda each: (each[0], not each[1].to(purpose))",
        "key=lambda each: (each[0], each[1].to(purpose))",
        ("tests/core/test_consent.py",),
    ),
    Guard(
        "a browser's id is one conversion's",
        "app/store/conversions.py",
        "return set(connection.execute(owners, asked).scalars()) & wanted.keys()",
        "return set(wanted)",
        (f"{WORDS}::test_an_event_id_that_comes_twice_is_the_firsts_and_the_second_is_warned_of",),
    ),
    Guard(
        "history travels apart",
        "app/deliver.py",
        "if batch and (full or row.historical != batch[0].historical):",
        "if batch and full:",
        (f"{WORDS}::test_history_travels_in_requests_of_its_own",),
    ),
    Guard(
        "only the properties that may leave do",
        "app/owe.py",
        "properties=destination.leaving(event.properties)",
        "properties=event.properties",
        (f"{WORDS}::test_a_property_that_may_not_leave_is_in_no_payload",),
    ),
    Guard(
        "a forgotten person stays forgotten",
        "app/privacy/erased.py",
        "    if not dead and not values:",
        "    if True:",
        (f"{PEOPLE}::test_nothing_of_a_forgotten_person_is_found_and_nothing_brings_them_back",),
    ),
)
CORRECTIONS = (
    Guard(
        "nobody who posts webhooks corrects what is booked",
        "app/core/reading/readers.py",
        "(BY_HAND if by_hand else READERS)",
        "{**READERS, **BY_HAND}",
        ("tests/core/test_correction.py::test_nobody_who_posts_webhooks_can_say_it",),
    ),
    Guard(
        "two at once make one correction",
        "app/finance/correct.py",
        "    if not new:",
        "    if False:",
        ("tests/test_correct.py::test_two_at_once_make_one",),
    ),
)
GUARDS = (*INGRESS, *UNDERSTANDING, *EGRESS, *REDIS, *ENGINE, *VISITORS, *CORRECTIONS)
