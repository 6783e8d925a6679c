"""Each header of src compiles alone, whatever was included before it."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest


@pytest.mark.timeout(600)  # a second for each header that includes messages
def test_each_header_compiles_alone(root: Path, tmp_path: Path) -> None:
    generated = tmp_path / "protocol"
    schemas = sorted(path.name for path in (root / "src/protocol").glob("*.fbs"))
    flatc = ["flatc", "--cpp", "--gen-object-api", "--scoped-enums", "--cpp-std", "c++17"]
    subprocess.run(
        [*flatc, "-o", generated, *schemas], cwd=root / "src/protocol", check=True, timeout=60
    )
    headers = sorted((root / "src").rglob("*.h"))
    assert headers and schemas

    def compile_alone(header: Path) -> str:
        compiler = os.environ.get("CXX", "g++")
        flags = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-unused-parameter"]
        # Included from an empty file: a header given as the main file would warn of its own pragma.
        done = subprocess.run(
            [
                compiler,
                *flags,
                "-Werror",
                "-x",
                "c++",
                "-",
                "-I",
                root / "src",
                "-isystem",
                tmp_path,
            ],
            input=f'#include "{header.relative_to(root / "src")}"\n',
            capture_output=True,
            text=True,
        )
        return done.stderr

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [text for text in pool.map(compile_alone, headers) if text]
    assert not problems, "\n".join(problems)
