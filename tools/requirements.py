"""Prints requirements of pyproject.toml, one a line, so that they stand there only.

    tools/requirements.py build runtime dev

`build` is what the build needs, `runtime` what the package needs, any other word an optional group.
Runs in a new environment, hence on the standard library and pip alone.
"""

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib


def main() -> None:
    path = Path(__file__).parents[1] / "pyproject.toml"
    config = tomllib.loads(path.read_text())
    project = config["project"]
    groups = {
        "build": config["build-system"]["requires"],
        "runtime": project["dependencies"],
        **project["optional-dependencies"],
    }
    for name in sys.argv[1:]:
        print(*groups[name], sep="\n")


if __name__ == "__main__":
    main()
