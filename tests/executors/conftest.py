"""The factories of these tests are imported by workers too, by the path that they get from here."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
