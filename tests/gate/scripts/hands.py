"""Calls AWS as it is told, a line of JSON each, and answers with a line each.

    {"service": "sqs", "call": "send_message", "with": {...}, "key": [ID, SECRET, TOKEN]?}

The answer is {"answer": ...}, or {"code": ..., "message": ...} of what was refused. Nothing is tried twice.
"""

import base64
import functools
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.response import StreamingBody


@functools.cache
def client(service, key):
    # Who calls a function may have to wait until it is done, which is longer than for anything else.
    config = Config(retries={"total_max_attempts": 1}, read_timeout=120)
    words = dict(zip(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), key))
    return boto3.client(service, config=config, **words)


def told(value):
    if isinstance(value, StreamingBody):
        value = value.read()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return str(value)


def main():
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            call = getattr(client(asked["service"], tuple(asked["key"])), asked["call"])
            answer = call(**asked["with"])
            answer.pop("ResponseMetadata", None)
            answer = {"answer": answer}
        except ClientError as error:
            refused = error.response
            answer = {"code": refused["Error"]["Code"], "message": refused["Error"]["Message"]}
        print(json.dumps(answer, default=told), flush=True)


main()
