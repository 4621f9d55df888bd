"""Generates a client from the description of the API, and works with it.

client.py DESCRIPTION FOLDER URL TARGET; the token is in PORTCULLIS_TOKEN. Prints what the client saw, as JSON.
"""

import json
import os
import pathlib
import subprocess
import sys

from openapi_spec_validator import validate


def generated(description, folder):
    """The folder of a package that was made of the description."""
    programs = pathlib.Path(sys.executable).parent
    environment = dict(os.environ, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    command = ["openapi-python-client", "generate", "--path", description, "--output-path", folder, "--overwrite"]
    made = subprocess.run(command, env=environment, capture_output=True, text=True)
    if made.returncode:
        sys.exit(made.stdout + made.stderr)
    return made.stdout + made.stderr


def main():
    description, folder, url, target = sys.argv[1:]
    validate(json.loads(pathlib.Path(description).read_text()))
    said = generated(description, folder)

    sys.path.insert(0, folder)
    from portcullis_client import AuthenticatedClient
    from portcullis_client.api.grants import grants_close, grants_list
    from portcullis_client.api.requests import requests_initiate, requests_show
    from portcullis_client.api.targets import targets_enable, targets_show
    from portcullis_client.models import AskBody, EnableBody, InitiateBody

    client = AuthenticatedClient(base_url=url, token=os.environ["PORTCULLIS_TOKEN"])
    guarded = targets_enable.sync(target, client=client, body=EnableBody())
    ask = AskBody(target=target, port=22, sources=["203.0.113.9"], for_="PT10M")
    body = InitiateBody(asks=[ask], justification="a generated client")
    asked = requests_initiate.sync(client=client, body=body, idempotency_key="once")
    again = requests_initiate.sync(client=client, body=body, idempotency_key="once")
    shown = requests_show.sync(asked.request.id, client=client)
    grants = grants_list.sync(client=client)
    closed = grants_close.sync(grants.items[0].id, client=client)
    refused = requests_initiate.sync(client=client, body=InitiateBody(asks=[]))
    machine = targets_show.sync(target, client=client)
    print(json.dumps({
        "said": said,
        "guarded": [it.port for it in guarded.ports],
        "same": asked.request.id == again.request.id == shown.id,
        "grants": len(grants.items),
        "closed": closed.id == grants.items[0].id,
        "refused": [refused.status, [it.code for it in refused.reasons]],
        "machine": machine.state,
    }))


if __name__ == "__main__":
    main()
