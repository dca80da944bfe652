"""Reads an exposition from standard input with the Python client library's own parser, and prints its samples.

The only argument is the format: "openmetrics" or "classic". Values are printed as text, because JSON has no infinity.
"""

import json
import sys

if sys.argv[1] == "openmetrics":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
else:
    from prometheus_client.parser import text_string_to_metric_families

text = sys.stdin.buffer.read().decode("utf-8", "strict")
families = list(text_string_to_metric_families(text))
samples = [
    {"type": family.type, "name": sample.name, "labels": sample.labels, "value": repr(float(sample.value))}
    for family in families
    for sample in family.samples
]
json.dump(samples, sys.stdout)
