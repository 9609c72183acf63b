"""Chosen on dev, written down, and only then tested: docs/results.md, as it is committed, has to
name a setting before a benchmark of the papers' claims touches its test split.
"""

from pathlib import Path

from origin import ROOT, git

REGISTER = ROOT / "docs" / "results.md"


def check_registered(split: str, setting: str, register: Path = REGISTER) -> None:
    """Raise SystemExit where the test split is asked for before the register, as it is committed,
    names the setting in backticks."""
    if split != "test":
        return
    wanted, place = f"`{setting}`", str(register.relative_to(ROOT))
    if wanted not in git("show", f"HEAD:{place}"):
        raise SystemExit(
            f"--split test: {place} as it is committed does not name the setting {wanted}: write "
            "down there what is compared and how it will be judged, and commit it"
        )
