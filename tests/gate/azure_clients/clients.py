"""Microsoft's own clients, unmodified, on the simulated Azure.

    clients.py ENDPOINT TENANT SUBSCRIPTION

ENDPOINT is an https URL whose certificate is in REQUESTS_CA_BUNDLE. Prints what it saw as JSON.
"""

import json
import sys

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network.models import SecurityRule

GROUP, SECURITY_GROUP, RULE = "demo", "build-1-nsg", "From-Python"


def main(endpoint: str, tenant: str, subscription: str) -> None:
    credential = ClientSecretCredential(
        tenant, "any-client", "any-secret", authority=endpoint, disable_instance_discovery=True
    )
    settings = {"base_url": endpoint, "credential_scopes": [f"{endpoint}/.default"], "polling_interval": 0.1}
    compute = ComputeManagementClient(credential, subscription, **settings)
    network = NetworkManagementClient(credential, subscription, **settings)
    seen = {"machines": [it.name for it in compute.virtual_machines.list_all()]}

    rule = SecurityRule(
        protocol="Tcp",
        source_port_range="*",
        destination_port_range="22",
        source_address_prefixes=["203.0.113.9"],
        destination_address_prefix="*",
        access="Allow",
        priority=100,
        direction="Inbound",
    )
    rules = network.security_rules
    put = rules.begin_create_or_update(GROUP, SECURITY_GROUP, RULE, rule).result()
    read = rules.get(GROUP, SECURITY_GROUP, RULE)
    seen["put"] = [put.name, put.provisioning_state]
    seen["read"] = [read.priority, read.source_address_prefixes]
    seen["listed"] = [it.name for it in rules.list(GROUP, SECURITY_GROUP)]
    try:
        rules.begin_create_or_update(GROUP, SECURITY_GROUP, "Clash", rule).result()
    except HttpResponseError as error:
        seen["clash"] = error.error.code
    rules.begin_delete(GROUP, SECURITY_GROUP, RULE).result()
    try:
        rules.get(GROUP, SECURITY_GROUP, RULE)
    except ResourceNotFoundError as error:
        seen["gone"] = error.error.code
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
