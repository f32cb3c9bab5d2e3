"""Writes the goldens anew: ``python -m tests.compiler.rewrite``."""

from __future__ import annotations

from tests.compiler.golden import FOLDER, GOLDENS


def main() -> None:
    kept = {golden.asl for golden in GOLDENS}
    for path in FOLDER.glob("*.asl.json"):
        if path not in kept:
            path.unlink()
    for golden in GOLDENS:
        golden.asl.write_text(golden.compiled(), encoding="utf-8")
    print(f"{len(GOLDENS)} state machines written to {FOLDER}")


if __name__ == "__main__":
    main()
