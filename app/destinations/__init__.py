"""The destinations there are. A new one is a page in this folder and a line in `KINDS`."""

from collections.abc import Mapping
from difflib import get_close_matches

from app.destinations.amplitude import Amplitude
from app.destinations.base import Destination, variable
from app.destinations.ga4 import Ga4
from app.destinations.meta import Meta
from app.destinations.mixpanel import Mixpanel
from app.destinations.posthog import PostHog
from app.destinations.rudderstack import RudderStack
from app.destinations.segment import Segment
from app.destinations.settings import read
from app.destinations.warehouse import Warehouse
from app.destinations.webhook import Webhook

KINDS: dict[str, type[Destination]] = {
    "amplitude": Amplitude,
    "ga4": Ga4,
    "meta": Meta,
    "mixpanel": Mixpanel,
    "posthog": PostHog,
    "rudderstack": RudderStack,
    "segment": Segment,
    "warehouse": Warehouse,
    "webhook": Webhook,
}


def build(
    name: str, options: Mapping[str, str], *, allow_local_urls: bool
) -> Destination | list[str]:
    """The destination of these options (`BRIDGE_DEST_<NAME>_<SETTING>`, setting in lower case).

    Or the list of all that is wrong, each naming its variable and the form expected, never a value.
    """
    name = name.lower()
    asked = options.get("kind", "").strip().lower() or name
    if asked in KINDS:
        return read(KINDS[asked], name, options, allow_local_urls=allow_local_urls)
    near = get_close_matches(asked, KINDS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return [f"{variable(name, 'kind')}: must be one of {', '.join(KINDS)}{hint}"]
