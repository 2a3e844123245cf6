"""Prints the lowest version that pyproject.toml allows of each dependency, as constraints for pip."""

import re
import tomllib
from pathlib import Path


def main() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(entry for part in project["optional-dependencies"].values() for entry in part),
    ]
    for line in sorted(set(wanted)):
        found = re.match(r"([A-Za-z0-9_.-]+)(\[[^]]*\])?>=([0-9.]+)", line)
        if found:
            print(f"{found[1]}=={found[3]}")


if __name__ == "__main__":
    main()
