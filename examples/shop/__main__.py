"""`.venv/bin/python -m examples.shop`: the shop at http://localhost:5000."""

import sys

from examples.shop.shop import from_environment, make_shop

if __name__ == "__main__":
    try:
        settings = from_environment()
    except KeyError as missing:
        sys.exit(f"{missing.args[0]} is not set; docs/checkout.md says how to start the shop.")
    make_shop(settings).run(host="localhost", port=5000)
