"""The layer order holds; and the check would notice if it did not."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def check_layers(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_layers", root / "tools/check_layers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tree_keeps_the_layer_order(check_layers: ModuleType) -> None:
    assert check_layers.check() == []


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("src/common/a.h", '#include "rpc/channel.h"', "common (level 0) stands below rpc"),
        ("src/plasma/a.cc", '#include "scheduling/b.h"', "plasma (level 3) stands below sched"),
        ("src/core_worker/a.cc", '#include "gcs/b.h"', "core_worker and gcs meet as messages"),
        ("src/raylet/lease.cc", '#include "gcs/b.h"', "raylet and gcs meet as messages"),
        ("src/rpc/a.h", '#include "rpc/a.h"', "cycle of includes: rpc/a.h -> rpc/a.h"),
        ("src/util/a.h", "", "src/util has no level"),
        ("python/rayc/_private/a.py", "from rayc import util", "imports rayc.util"),
        ("python/rayc/_private/a.py", "from ..util import b", "imports rayc.util"),
        ("python/rayc/plasma/a.py", "import rayc._raylet", "imports rayc._raylet"),
    ],
)
def test_breach_is_noticed(
    check_layers: ModuleType, tmp_path: Path, path: str, text: str, complaint: str
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text + "\n")
    problems = check_layers.check(tmp_path)
    assert len(problems) == 1 and complaint in problems[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/raylet/raylet.cc", '#include "gcs/gcs_server.h"'),
        ("src/rpc/a.cc", '#include "protocol/common_generated.h"'),
        ("src/gcs/a.cc", '#include "scheduling/b.h"\n#include <vector>'),
        ("python/rayc/_private/a.py", "from . import node\nfrom rayc import exceptions"),
    ],
)
def test_allowed_use_passes(check_layers: ModuleType, tmp_path: Path, path: str, text: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text + "\n")
    assert check_layers.check(tmp_path) == []
