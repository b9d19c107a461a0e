"""Compare a built wheel with the repository: every module, grammar and specification must be in it, and no tests.

An editable install hides a forgotten package; the wheel does not.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile

SHIPPED = ("backends/", "cli/", "driver/", "explore/", "frontend/", "ir/", "passes/", "runtime/", "specs/", "validate/")
ROOT_FILES = ("__init__.py", "__main__.py", "py.typed")


def main(wheel: str) -> int:
    tracked = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.split()
    wanted = {f"dnnc/{name}" for name in tracked if name.startswith(SHIPPED) or name in ROOT_FILES}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if not name.partition("/")[0].endswith(".dist-info")}
    for name in sorted(wanted - found):
        print(f"missing from the wheel: {name}")
    for name in sorted(found - wanted):
        print(f"not wanted in the wheel: {name}")
    print(f"{len(found)} files in the wheel")
    return int(wanted != found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
