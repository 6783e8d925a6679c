"""The extensions export their init functions and nothing else.

They live in the user's process beside TensorFlow, pyarrow and grpcio, each with its own libraries:
a symbol that two of them define can be bound to the wrong one.
"""

import subprocess
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("folder", "module"), [(".", "_raylet"), ("plasma", "_plasma")], ids=["_raylet", "_plasma"]
)
def test_extension_exports_its_init_function_alone(package: Path, folder: str, module: str) -> None:
    (library,) = (package / folder).glob(f"{module}.*.so")
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True
    ).stdout
    # An address, a kind, and the name, which may carry its version.
    names = [line.split()[-1].split("@")[0] for line in listed.splitlines()]
    assert names == [f"PyInit_{module}"]


@pytest.mark.parametrize("program", ["raylet", "gcs_server", "plasma_store"])
def test_program_is_stripped_and_needs_system_libraries_alone(package: Path, program: str) -> None:
    path = package / "bin" / program
    sections = subprocess.run(
        ["readelf", "-SdW", path], check=True, capture_output=True, text=True
    ).stdout
    assert ".symtab" not in sections
    needed = {
        line.split("[")[1].rstrip("]") for line in sections.splitlines() if "(NEEDED)" in line
    }
    system = {"libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"}
    assert needed <= system
