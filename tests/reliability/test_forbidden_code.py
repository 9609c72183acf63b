"""T7 and T8 where they are rules: turnout holds no code that runs what a file says, nor any that
unpacks an archive. (What NumPy reads of its own zip files, it reads without unpacking or pickles.)
"""

from pathlib import Path

import pytest

from tests.reliability.forbidden import forbidden_archives, forbidden_code
from tests.reliability.tally import Tally

SOURCE = Path(__file__).parents[2] / "src" / "turnout"
RED_CODE = (
    "import pickle",
    "import pickle as p\np.load(file)",
    "from pickle import loads\nloads(data)",
    "def inside():\n    import _pickle",
    "from importlib import import_module\nimport_module('pickle')",
    "import marshal",
    "import joblib",
    "import torch\ntorch.load(path)",
    "import torch\ntorch.load(path, weights_only=True)",
    "from torch import load\nload(path)",
    "from torch import load as read\nread(path)",
    "import torch as t\nt.jit.load(path)",
    "import numpy as np\nnp.load(path, allow_pickle=True)",
    "import numpy as np\nnp.load(path, allow_pickle=wish)",
    "eval(text)",
    "exec(text)",
    "import builtins\nbuiltins.eval(text)",
    "from builtins import exec as run\nrun(text)",
    "compile(text, name, 'exec')",
    "import yaml\nyaml.load(text)",
    "import yaml\nyaml.load(text, Loader=yaml.Loader)",
    "import yaml\nyaml.load(text, yaml.UnsafeLoader)",
    "from yaml import load, FullLoader\nload(text, FullLoader)",
    "import yaml\nyaml.unsafe_load(text)",
    "import yaml\nyaml.compose(text)",
    "import yaml\nclass Loader(yaml.Loader): pass\nyaml.load(text, Loader)",
    "import yaml\nclass Both(yaml.SafeLoader, yaml.Loader): pass\nyaml.load(text, Both)",
    "import yaml\nyaml.load(text, Plain)",
    "import subprocess\nsubprocess.run(line, shell=True)",
    "from subprocess import Popen\nPopen(line, shell=wish)",
    "import os\nos.system(line)",
    "from os import popen\npopen(line)",
    "model_of(name, trust_remote_code=True)",
    "read(path, weights_only=False)",
)
GREEN_CODE = (
    "import numpy as np\nnp.load(path)",
    "import numpy as np\nnp.load(path, allow_pickle=False)",
    "from safetensors.torch import load\nload(data)",
    "import yaml\nyaml.safe_load(text)",
    "import yaml\nyaml.compose(text, yaml.SafeLoader)",
    "import yaml\nclass Plain(yaml.SafeLoader): pass\nyaml.load(text, Plain)",
    "from yaml import load, SafeLoader\nload(text, Loader=SafeLoader)",
    "import subprocess\nsubprocess.run([program, text], shell=False)",
    "import re\nre.compile('x')",
    "model.eval()",
    "import json\njson.load(file)",
)
RED_ARCHIVES = (
    "import tarfile",
    "import zipfile as z",
    "from tarfile import open as read",
    "from importlib import import_module\nimport_module('zipfile')",
    "import shutil\nshutil.unpack_archive(path)",
    "from shutil import unpack_archive",
    "archive.extractall(folder)",
    "archive.extract(name)",
    "import fsspec\nfsspec.filesystem('tar', fo=path)",
    "import fsspec as f\nf.open('zip://a::b')",
    "from fsspec.implementations.tar import TarFileSystem",
    "from fsspec.implementations import libarchive",
    "from webdataset import tariterators",
    "import lhotse.shar",
)
GREEN_ARCHIVES = (
    "import gzip\ngzip.open(path)",
    "import numpy as np\nnp.load('index.npz')",
    "from fsspec.core import url_to_fs\nurl_to_fs(address)",
)
RULES = {
    "T7": (forbidden_code, RED_CODE, GREEN_CODE),
    "T8": (forbidden_archives, RED_ARCHIVES, GREEN_ARCHIVES),
}


def check(rule: str, tally: Tally) -> None:
    """The rule over every module, and over lines that it must find or must let pass."""
    find, red, green = RULES[rule]
    modules = sorted(SOURCE.rglob("*.py"))
    assert len(modules) > 50
    # One trial, however many modules: a longer program is not tried harder.
    with tally.trial("every module"):
        found = [
            f"{module.relative_to(SOURCE)}:{line} {reason}"
            for module in modules
            for line, reason in find(module.read_text("utf-8"))
        ]
        assert not found, "; ".join(found)
    for text in green:
        with tally.trial(f"allowed: {text!r}"):
            assert not find(text)
    missed = [text for text in red if not find(text)]
    tally.measure(modules=len(modules), forbidden_lines_found=len(red) - len(missed))
    tally.controlled(not missed)
    assert not missed, f"the rule does not see {missed}"


@pytest.mark.counts("T7", "static rule")
def test_no_module_runs_what_a_file_says(tally: Tally) -> None:
    check("T7", tally)


@pytest.mark.counts("T8", "static rule")
def test_no_module_unpacks_an_archive(tally: Tally) -> None:
    check("T8", tally)
