import sys
from pathlib import Path

# The classes that several test files share (conformance.py, crafted.py) are in this folder.
sys.path.insert(0, str(Path(__file__).parent))
