"""What a visitor agreed to, by purpose, as the checkout wrote it into Stripe metadata."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

SHORT = re.compile("a([01])d([01])")
ANSWERS = {"granted": True, "denied": False}
# Google's consent mode has a word for each use; ours are these two.
PURPOSES = {
    "analytics": "analytics",
    "analytics_storage": "analytics",
    "ads": "ads",
    "ad_storage": "ads",
    "ad_user_data": "ads",
    "ad_personalization": "ads",
}
SECONDS = re.compile("[1-9][0-9]{8,10}")
REGION = re.compile("[a-z]{2}(-[a-z0-9]{1,3})?")  # ISO 3166: a country, or a part of one


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Yes, no, or None where it was not said. `at`: when it was given, aware, UTC. `region`: an
    ISO 3166 country or part of one in capitals, or empty."""

    analytics: bool | None = None
    ads: bool | None = None
    at: datetime | None = None
    region: str = ""

    def to(self, purpose: str) -> bool | None:
        """Whether the visitor agreed to this purpose. Our own data (`own`) needs no consent."""
        if purpose == "own":
            return True
        return {"analytics": self.analytics, "ads": self.ads}.get(purpose)

    def __str__(self) -> str:
        """As it is read again: `analytics=granted,ads=denied,at=1740830400,region=DE`."""
        words = {True: "granted", False: "denied"}
        both = (("analytics", self.analytics), ("ads", self.ads))
        said = [f"{name}={words[answer]}" for name, answer in both if answer is not None]
        if self.at:
            said.append(f"at={int(self.at.timestamp())}")
        return ",".join([*said, *([f"region={self.region}"] if self.region else [])])


Timed = tuple[datetime, Consent]


def read(text: str | None) -> Consent:
    """The consent that a metadata value states. Parts it does not know say nothing.

    Parts, comma-separated: `granted` or `denied` for all that has no word of its own;
    `analytics=granted`, `ads=denied`; Google's `ad_user_data=denied` and the like; the short
    `a1d0` (analytics yes, ads no); `at=` unix seconds or ISO 8601; `region=DE` or `US-CA`.
    Where two parts speak of one purpose, the refusal stands.
    """
    said: dict[str, list[bool]] = {"": [], "analytics": [], "ads": []}
    at, region = None, ""
    for part in (text or "").lower().replace(" ", "").split(","):
        name, _, value = part.rpartition("=")
        if short := SHORT.fullmatch(part):
            said["analytics"].append(short[1] == "1")
            said["ads"].append(short[2] == "1")
        elif value in ANSWERS and (name in PURPOSES or not name):
            said[PURPOSES.get(name, "")].append(ANSWERS[value])
        elif name == "at":
            at = _time(value)
        elif name == "region" and REGION.fullmatch(value):
            region = value.upper()
    return Consent(
        analytics=_all(said["analytics"] or said[""]),
        ads=_all(said["ads"] or said[""]),
        at=at,
        region=region,
    )


def last_word(said: Iterable[tuple[datetime, str]]) -> Consent:
    """Of statements (when they were made, the text), for each purpose the last that speaks of it.

    A consent's own time goes before its statement's, unless it lies after it. At one and the same
    time a refusal stands.
    """
    timed = []
    for time, text in said:
        one = read(text)
        timed.append((min(one.at, time) if one.at else time, one))
    analytics, ads = (_last(timed, purpose) for purpose in ("analytics", "ads"))
    placed = [each for each in timed if each[1].region]
    return Consent(
        analytics=analytics[1].analytics if analytics else None,
        ads=ads[1].ads if ads else None,
        at=max((each[0] for each in (analytics, ads) if each and each[1].at), default=None),
        region=max(placed, key=lambda each: (each[0], each[1].region))[1].region if placed else "",
    )


def _last(timed: Sequence[Timed], purpose: str) -> Timed | None:
    able = [each for each in timed if each[1].to(purpose) is not None]
    return max(able, key=lambda each: (each[0], not each[1].to(purpose)), default=None)


def _all(answers: list[bool]) -> bool | None:
    return all(answers) if answers else None


def _time(text: str) -> datetime | None:
    try:
        if SECONDS.fullmatch(text):
            return datetime.fromtimestamp(int(text), UTC)
        found = datetime.fromisoformat(text.upper())
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
