"""What an image holds, as JSON: its Debian and Python packages with their licences. Run by the image's own Python."""

import importlib.metadata
import json
import re
from pathlib import Path

COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z]+-?[0-9.]*[0-9]|[A-Za-z]+)")

PROSE = {
    "PSF-2.0": r"PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2",
    "LGPL-2.1+": r"GNU Lesser General Public\s+License, version 2\.1 \(or, at your option",
}  # what files say that are written in neither way


def debian():
    for paragraph in Path("/var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", paragraph, re.M))
        if fields.get("Status", "").endswith(" installed"):
            name = fields["Package"]
            yield {
                "name": name,
                "version": fields["Version"],
                "architecture": fields["Architecture"],
                "licences": by_copyright(Path("/usr/share/doc", name, "copyright")),
            }


def by_copyright(path):
    """The short names of a copyright file in Debian's format, else the licences that it speaks of."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    named = re.findall(r"^License:[ \t]*(\S.*)$", text, re.M)
    prose = {name for name, words in PROSE.items() if re.search(words, text)}
    return sorted({one.strip() for one in named} or set(COMMON.findall(text)) or prose)


def python():
    for one in importlib.metadata.distributions(path=["/opt/packages"]):
        told = one.metadata
        classified = [name.rpartition(" :: ")[2] for name in told.get_all("Classifier", []) if "License ::" in name]
        expression, text = told.get("License-Expression"), (told.get("License") or "").strip().splitlines()
        yield {
            "name": told["Name"],
            "version": one.version,
            "expression": expression,
            "licences": classified or [line[:80] for line in text[:1]],
        }


wheels = Path("/opt/packages/wheels.sha256")
print(
    json.dumps(
        {
            "debian": list(debian()),
            "python": list(python()),
            "wheels": wheels.read_text().splitlines() if wheels.exists() else [],
        }
    )
)
