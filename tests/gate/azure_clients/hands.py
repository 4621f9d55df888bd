"""Somebody's hands on the rules of a security group, with Microsoft's own client, unmodified.

Each line of the input is an object that says what to do, and where; each is answered by a line once it is
done: by whether it was.

    {"endpoint": URL, "token": …, "subscription": …, "group": …, "rule": …, "do": "delete"}
    {…, "do": "change", "to": {…}}
    {…, "do": "add", "to": {…}}
"""

import json
import sys

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network.models import SecurityRule

RESOURCE_GROUP = "demo"
# In seconds since 1970: never, as far as a test goes.
NEVER = 4_000_000_000


class Token:
    """What the simulated cloud gave its test."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        return AccessToken(self.text, NEVER)


def do(wanted: dict) -> None:
    network = NetworkManagementClient(
        Token(wanted["token"]),
        wanted["subscription"],
        base_url=wanted["endpoint"],
        credential_scopes=["simulated"],
        polling_interval=0.1,
    )
    rules, where = network.security_rules, (RESOURCE_GROUP, wanted["group"], wanted["rule"])
    # The simulated cloud of a test is on this machine, and heard over HTTP.
    plain = {"enforce_https": False}
    match wanted["do"]:
        case "delete":
            rules.begin_delete(*where, **plain).result()
        case "change":
            rule = rules.get(*where, **plain)
            for name, value in wanted["to"].items():
                setattr(rule, name, value)
            rules.begin_create_or_update(*where, rule, **plain).result()
        case "add":
            rules.begin_create_or_update(*where, SecurityRule(**wanted["to"]), **plain).result()


def main() -> None:
    for line in sys.stdin:
        try:
            do(json.loads(line))
            done = "done"
        except HttpResponseError as error:
            done = error.message.replace("\n", " ")
        print(done, flush=True)


if __name__ == "__main__":
    main()
