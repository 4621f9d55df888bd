"""Cedar's own answers, by its binding for Python: reads sets of policies with questions, and prints an answer for each question."""

import json
import sys

import cedarpy

with open(sys.argv[1], encoding="utf-8") as file:
    given = json.load(file)
schema = cedarpy.Schema.from_str(given["schema"])
answers = []
for one in given["sets"]:
    policies = "\n".join(text for _, text in one["policies"])
    results = cedarpy.is_authorized_batch(one["requests"], policies, one["entities"], schema)
    # The binding numbers policies in the order of the text.
    ids = {f"policy{n}": id for n, (id, _) in enumerate(one["policies"])}
    for result in results:
        assert result.decision in (cedarpy.Decision.Allow, cedarpy.Decision.Deny), result.diagnostics.errors
        answers.append({
            "allowed": result.decision == cedarpy.Decision.Allow,
            "deciding": sorted(ids[it] for it in result.diagnostics.reasons),
            "errors": len(result.diagnostics.errors),
        })
json.dump(answers, sys.stdout)
