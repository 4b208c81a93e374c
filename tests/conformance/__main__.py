"""Run the conformance kit beside the checkout, or the one in the folder that is given."""

import sys
from pathlib import Path

from dadms_orchestrators.decision.conformance import main

KIT = Path(__file__).parents[2] / ".." / "shared" / "conformance" / "dmn-tck"

raise SystemExit(main(sys.argv[1:] or [str(KIT.resolve())]))
