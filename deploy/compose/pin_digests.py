"""Write the digests of the images that compose.yaml and the Dockerfile name into `.env`. Standard library only.

A digest is asked of the registry through the machine's own engine (`docker buildx imagetools`, or `skopeo`); without one of
them this script refuses, because a digest that nobody looked up pins nothing.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = ("compose.yaml", "Dockerfile")
PINNED = re.compile(r"(?P<image>[a-z0-9][a-z0-9./_-]*:[A-Za-z0-9._-]+)@\$\{(?P<variable>[A-Z0-9_]+_DIGEST)(?::\?[^}]*)?\}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class CannotPin(Exception):
    """One sentence for the person who runs this."""


def images(texts: Iterable[str]) -> dict[str, str]:
    """Digest variable → the image (name:tag) that it pins, from the texts of the files that use it."""
    found: dict[str, str] = {}
    for text in texts:
        for match in PINNED.finditer(text):
            image = found.setdefault(match["variable"], match["image"])
            if image != match["image"]:
                raise CannotPin(f"{match['variable']} stands for {image} and for {match['image']}")
    return found


def with_digests(env: str, digests: dict[str, str]) -> str:
    """The text of `.env` with these variables set, each in its place or, if new, at the end; other lines stay as they are."""
    left = dict(digests)
    lines = []
    for line in env.splitlines():
        name = line.partition("=")[0].strip()
        lines.append(f"{name}={left.pop(name)}" if name in left else line)
    lines += [f"{name}={digest}" for name, digest in left.items()]
    return "\n".join(lines) + "\n"


def checked(digest: str, image: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise CannotPin(f"{image}: the engine answered {digest[:80]!r}, which is no sha256 digest")
    return digest


def ask(image: str) -> str:
    """The digest that the image's registry gives for it now."""
    if shutil.which("docker"):
        command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", image]
        answer = run(command, image)
        return checked(str(json.loads(answer).get("digest", "")), image)
    if shutil.which("skopeo"):
        return checked(run(["skopeo", "inspect", "--format", "{{.Digest}}", f"docker://{image}"], image).strip(), image)
    raise CannotPin("neither docker (with buildx) nor skopeo is on this machine; run this where the containers will run")


def run(command: list[str], image: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotPin(f"{command[0]} could not look up {image}: {said}")
    return done.stdout


def main() -> int:
    target = HERE / ".env"
    try:
        if not target.exists():
            raise CannotPin("there is no .env: cp env.example .env, and fill it in")
        wanted = images((HERE / name).read_text(encoding="utf-8") for name in FILES)
        # All or none: a half-pinned file would look finished.
        digests = {variable: ask(image) for variable, image in wanted.items()}
        target.write_text(with_digests(target.read_text(encoding="utf-8"), digests), encoding="utf-8")
    except CannotPin as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for variable, image in wanted.items():
        sys.stdout.write(f"{image}@{digests[variable]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
