"""Prints the one table of a template as what CreateTable wants of it.

    table.py TEMPLATE
"""

import json
import pathlib
import sys

from samtranslator.yaml_helper import yaml_parse

# What makes one table behave unlike another; the rest (encryption, recovery, tags) no emulator has.
DEFINES = ["AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema", "LocalSecondaryIndexes"]


def main(template):
    resources = yaml_parse(pathlib.Path(template).read_text())["Resources"].values()
    [table] = [it["Properties"] for it in resources if it["Type"] == "AWS::DynamoDB::Table"]
    wanted = {it: table[it] for it in DEFINES if it in table}
    if "StreamSpecification" in table:
        wanted["StreamSpecification"] = {"StreamEnabled": True, **table["StreamSpecification"]}
    print(json.dumps(wanted))


main(*sys.argv[1:])
