"""The scripts of the demo are a package at the top of the repository, which is not installed."""

from pathlib import Path
import sys

sys.path.append(str(Path(__file__).resolve().parents[2]))
