"""`python -m subscriptions.catalogue > docs/reference/event-types.md`."""

import sys

from subscriptions.catalogue.page import page

sys.stdout.write(page())
