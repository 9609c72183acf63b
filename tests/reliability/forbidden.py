"""What a module must not do, found in its syntax tree: run what a file says, or unpack archives."""

import ast
import re
from collections.abc import Collection, Iterator

EXECUTED = frozenset(
    {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path",
     "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"}
)  # fmt: skip
UNPICKLED = frozenset(
    {"torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter",
     "numpy.lib.format.read_array", "pandas.read_pickle"}
)  # fmt: skip
UNSAFE_YAML = frozenset({"unsafe_load", "unsafe_load_all", "full_load", "full_load_all"})
LOADING_YAML = frozenset({"load", "load_all", "compose", "compose_all", "parse", "scan"})
SAFE_LOADERS = frozenset({"yaml.SafeLoader", "yaml.CSafeLoader", "yaml.BaseLoader"})
PICKLING = frozenset(
    {"pickle", "_pickle", "cPickle", "pickletools", "marshal", "shelve", "dbm", "dill", "joblib",
     "cloudpickle", "jsonpickle"}
)  # fmt: skip
ARCHIVING = frozenset({"tarfile", "zipfile", "zipimport", "py7zr", "rarfile", "webdataset"})
ARCHIVES_ELSEWHERE = (
    *(f"fsspec.implementations.{name}" for name in ("tar", "zip", "libarchive", "reference")),
    "shutil.unpack_archive",
    "lhotse.shar",
)
"""Modules, and a function, that would read or unpack one for us."""
ARCHIVE_ADDRESS = re.compile(r"(tar|zip|libarchive|reference)(://|$)")
"""What fsspec takes for an archive's file system."""
UNPACKING = frozenset({"extractall", "extract", "extractfile", "unpack_archive"})

Found = tuple[int, str]
"""A line, and what is wrong with it."""


def forbidden_code(source: str) -> list[Found]:
    """Lines that could run what a file says."""
    tree = ast.parse(source)
    names = imported(tree)
    loaders = SAFE_LOADERS.union(safe_loaders(tree, names))
    found = [(line, f"imports {name}") for line, name in imports(tree) if top(name) in PICKLING]
    for call in calls(tree):
        name = dotted(call.func, names)
        found += [(call.lineno, reason) for reason in dangers(call, name, names, loaders)]
    return sorted(found)


def forbidden_archives(source: str) -> list[Found]:
    """Lines that could unpack an archive."""
    tree = ast.parse(source)
    found = [
        (line, f"imports {name}")
        for line, name in imports(tree)
        if top(name) in ARCHIVING or name.startswith(ARCHIVES_ELSEWHERE)
    ]
    names = imported(tree)
    found += [
        (call.lineno, f"calls {dotted(call.func, names)} of an archive")
        for call in calls(tree)
        if dotted(call.func, names).startswith("fsspec.") and names_archive(call)
    ]
    found += [
        (node.lineno, f"uses .{node.attr}")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in UNPACKING
    ]
    return sorted(found)


def names_archive(call: ast.Call) -> bool:
    """Whether a word among a call's arguments is an archive's address or protocol."""
    words = (*call.args, *(word.value for word in call.keywords))
    return any(
        isinstance(word, ast.Constant) and ARCHIVE_ADDRESS.match(str(word.value)) for word in words
    )


def safe_loaders(tree: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """Loaders of YAML that the module makes of safe ones alone."""
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        if kind.bases and all(dotted(base, names) in SAFE_LOADERS for base in kind.bases):
            yield kind.name


def dangers(
    call: ast.Call, name: str, names: dict[str, str], loaders: Collection[str]
) -> Iterator[str]:
    """What is wrong with a call of this full name."""
    keywords = {word.arg: word.value for word in call.keywords if word.arg}
    if name in EXECUTED | UNPICKLED or name.startswith(("os.exec", "os.spawn")):
        yield f"calls {name}"
    for word in ("shell", "allow_pickle", "trust_remote_code"):
        if word in keywords and not is_false(keywords[word]):
            yield f"passes {word}"
    if "weights_only" in keywords and is_false(keywords["weights_only"]):
        yield "passes weights_only=False"
    package, _, function = name.rpartition(".")
    if package == "yaml" and function in UNSAFE_YAML:
        yield f"calls {name}"
    if package == "yaml" and function in LOADING_YAML:
        loader = keywords.get("Loader") or (call.args[1] if len(call.args) > 1 else None)
        if loader is None or dotted(loader, names) not in loaders:
            yield f"calls {name} without a safe loader"


def imported(tree: ast.AST) -> dict[str, str]:
    """Local name -> full name, of everything imported anywhere in the module."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or top(alias.name)
                names[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def imports(tree: ast.AST) -> Iterator[Found]:
    """Line and full name of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func, {}).endswith("import_module"):
            yield from (
                (node.lineno, str(word.value))
                for word in node.args
                if isinstance(word, ast.Constant)
            )


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Every call."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of what an expression names; empty where it names nothing."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id).removeprefix("builtins.")
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, names)
        return f"{owner}.{node.attr}".removeprefix("builtins.") if owner else ""
    return ""


def is_false(node: ast.expr) -> bool:
    """Whether an expression is the word False."""
    return isinstance(node, ast.Constant) and node.value is False


def top(name: str) -> str:
    """The first part of a dotted name."""
    return name.partition(".")[0]
