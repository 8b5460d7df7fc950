"""Workers import these tests' factories too, with the path that is set here."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
