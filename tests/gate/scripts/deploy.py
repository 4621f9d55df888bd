"""Deploys a SAM template to the endpoint in AWS_ENDPOINT_URL, as `sam deploy` does, and prints its outputs as JSON.

    deploy.py TEMPLATE STACK CODE [NAME=VALUE]...

CODE holds a folder for each function, named as the binary that its template says, with what goes into its zip.
"""

import hashlib
import io
import json
import pathlib
import sys
import time
import zipfile

import boto3
import yaml
from botocore.config import Config
from samtranslator.yaml_helper import yaml_parse

BUCKET = "deployed"
# What the emulator refuses a template for, and can do without: no test rests on it.
LACKING = ["AWS::Events::Archive"]
# How long a deployment may take, in polls of half a second.
POLLS_MAX = 240


def main(template, stack, code, *parameters):
    config = Config(retries={"total_max_attempts": 1})
    s3, formation = boto3.client("s3", config=config), boto3.client("cloudformation", config=config)
    s3.create_bucket(Bucket=BUCKET)

    def put(held):
        # Named by what it holds: else an update would find nothing new.
        key = hashlib.sha256(held).hexdigest()
        s3.put_object(Bucket=BUCKET, Key=key, Body=held)
        return key

    wanted = yaml_parse(pathlib.Path(template).read_text())
    wanted["Resources"] = {name: it for name, it in wanted["Resources"].items() if it["Type"] not in LACKING}
    for name, resource in wanted["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            held = zipped(pathlib.Path(code) / binary(name, resource))
            resource["Properties"]["CodeUri"] = f"s3://{BUCKET}/{put(held)}"
    # A call takes 51,200 bytes of template; a bucket more.
    url = f"{s3.meta.endpoint_url}/{BUCKET}/{put(yaml.safe_dump(wanted).encode())}"
    exists = any(it["StackName"] == stack for it in formation.describe_stacks()["Stacks"])
    change = formation.create_change_set(
        StackName=stack,
        ChangeSetName=f"change-{time.time_ns()}",
        ChangeSetType="UPDATE" if exists else "CREATE",
        TemplateURL=url,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[dict(zip(("ParameterKey", "ParameterValue"), it.split("=", 1))) for it in parameters],
    )["Id"]
    wait = {"Delay": 0.5, "MaxAttempts": POLLS_MAX}
    try:
        formation.get_waiter("change_set_create_complete").wait(ChangeSetName=change, WaiterConfig=wait)
        formation.execute_change_set(ChangeSetName=change)
        done = "stack_update_complete" if exists else "stack_create_complete"
        formation.get_waiter(done).wait(StackName=stack, WaiterConfig=wait)
    except Exception as error:
        reason = formation.describe_change_set(ChangeSetName=change).get("StatusReason", "")
        events = formation.describe_stack_events(StackName=stack)["StackEvents"]
        told = [f"{it['LogicalResourceId']}: {it.get('ResourceStatusReason', '')}" for it in events if "FAILED" in it["ResourceStatus"]]
        sys.exit("\n".join([str(error), reason, *told]))
    deployed = formation.describe_stacks(StackName=stack)["Stacks"][0]
    print(json.dumps({it["OutputKey"]: it["OutputValue"] for it in deployed.get("Outputs", [])}))


def binary(name, resource):
    """What SAM would build for a function: the folder with its code is called so."""
    built = resource.get("Metadata", {}).get("BuildProperties", {}).get("Binary")
    return built or sys.exit(f"{name}: its Metadata name no Binary")


def zipped(folder):
    """A folder's files as a zip, executable; the same folder gives the same bytes."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for path in sorted(it for it in folder.rglob("*") if it.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(folder)))
            entry.external_attr = 0o755 << 16
            file.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    if not held.tell() > 22:
        sys.exit(f"{folder} holds nothing to deploy")
    return held.getvalue()


main(*sys.argv[1:])
