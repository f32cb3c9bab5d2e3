"""Writes the goldens anew: ``python -m tests.compiler.rewrite``."""

from __future__ import annotations

from tests.compiler.golden import FOLDER, GOLDENS


def main() -> None:
    files = {path: text for golden in GOLDENS for path, text in golden.files().items()}
    for path in FOLDER.glob("*.asl.json"):
        if path not in files:
            path.unlink()
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    print(f"{len(files)} state machines written to {FOLDER}")


if __name__ == "__main__":
    main()
