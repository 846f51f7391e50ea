#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""semconv.py CHECKOUT: prints the names, types and units of a release of the OpenTelemetry semantic conventions.

CHECKOUT is a clone of github.com/open-telemetry/semantic-conventions at the release's tag. The output is testkit/src/semconv.tsv, with
which tests compare what the agent emits:

    git -C semantic-conventions checkout v1.44.0
    tests/semconv.py semantic-conventions >testkit/src/semconv.tsv

Needs PyYAML.
"""
import pathlib
import sys

import yaml


def type_name(kind):
    """An enum has the type of its values."""
    if not isinstance(kind, dict):
        return kind
    values = [member["value"] for member in kind["members"]]
    return "int" if all(isinstance(value, int) for value in values) else "string"


def attributes(document):
    for group in document.get("groups", []):
        yield from (entry for entry in group.get("attributes", []) if "id" in entry)
    yield from (entry | {"id": entry["key"]} for entry in document.get("attributes", []) if "key" in entry)


def metrics(document):
    for group in document.get("groups", []):
        if group.get("type") == "metric":
            yield group["metric_name"], group
    for metric in document.get("metrics", []):
        yield metric["name"], metric


def entities(document):
    for group in document.get("groups", []):
        if group.get("type") == "entity":
            yield from ((group["name"], a["ref"], a.get("role", "-")) for a in group["attributes"])


def main():
    root = pathlib.Path(sys.argv[1]) / "model"
    manifest = yaml.safe_load((root / "manifest.yaml").read_text())
    rows = set()
    for path in root.rglob("*.yaml"):
        document = yaml.safe_load(path.read_text())
        if not isinstance(document, dict):
            continue
        for entry in attributes(document):
            rows.add(("attribute", entry["id"], type_name(entry["type"])))
        for name, metric in metrics(document):
            rows.add(("metric", name, metric["instrument"], metric["unit"]))
        for name, attribute, role in entities(document):
            rows.add(("entity", name, attribute, role))
    print("# Names, types and units of the OpenTelemetry semantic conventions: tests/semconv.py.")
    print("schema_url", manifest["schema_url"], sep="\t")
    for row in sorted(rows):
        print(*row, sep="\t")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
