"""The stubs say what the built extensions have: the same names, in both directions."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest


def stub_tree(package: Path, module: str) -> ast.Module:
    path = package.joinpath(*module.split(".")[1:]).with_suffix(".pyi")
    return ast.parse(path.read_text(), str(path))


def declared(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """The names that statements of a stub declare."""
    names: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
        elif isinstance(node, ast.Assign):
            names |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
    return names


def is_type_variable(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "TypeVar"
    )


def is_own(value: object, module: str) -> bool:
    """Whether a module's attribute is its own, not something that it imported."""
    if inspect.ismodule(value):
        return False
    return getattr(value, "__module__", module) in (module, None)


@pytest.mark.parametrize("module", ["rayc._raylet", "rayc.plasma._plasma"])
def test_stub_and_module_have_the_same_names(package: Path, module: str) -> None:
    built = importlib.import_module(module)
    stub = {
        name: node
        for name, node in declared(stub_tree(package, module).body).items()
        if not is_type_variable(node)
    }
    problems = [f"{name}: in the stub alone" for name in stub if not hasattr(built, name)]
    for name, value in vars(built).items():
        if name.startswith("_") or name in stub or not is_own(value, module):
            continue
        problems.append(f"{name}: not in the stub")

    for class_name, node in stub.items():
        if not isinstance(node, ast.ClassDef) or not hasattr(built, class_name):
            continue
        built_class = getattr(built, class_name)
        members = declared(node.body)
        problems += [
            f"{class_name}.{name}: in the stub alone"
            for name in members
            # Before Python 3.12 the buffer protocol has no name at run time.
            if not hasattr(built_class, name) and name != "__buffer__"
        ]
        problems += [
            f"{class_name}.{name}: not in the stub"
            for name in vars(built_class)
            if not name.startswith("_") and name not in members
        ]
    assert not problems, "\n".join(problems)
