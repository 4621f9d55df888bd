#!/usr/bin/env python3
"""A bot for a chat: it asks Portcullis on behalf of people, and tells them what becomes of it.

Here the chat is this terminal: a message is a line such as `ann> open db-1 22 1h 203.0.113.9 INC-4711`. A bot for a real chat
takes the person from the chat, which has proven who wrote, and never from the text.
"""
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request

URL, TOKEN = os.environ["PORTCULLIS_URL"], os.environ["PORTCULLIS_TOKEN"]
MINE = "chat-"  # how the correlation ids of this bot begin
SHOWN = {}  # the digest of each request that waits: an approval is for exactly what was shown


def call(method, path, body=None):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(URL + path, method=method, headers=headers)
    with urllib.request.urlopen(request, body and json.dumps(body).encode(), timeout=60) as answer:
        return json.load(answer)


def tell(text):
    print(text, flush=True)


def send(kind, message, person, **more):
    """The id of a message makes one that is sent twice one request."""
    detail = {"version": 1, "on_behalf_of": person, "correlation_id": MINE + message, **more}
    answer = call("POST", "/v1/events", {"detail-type": kind, "id": message, "detail": detail})
    for reason in answer["reasons"]:
        tell(f"{person}, no: {reason}")


def answer(message, line):
    person, _, text = line.strip().partition("> ")
    command, *words = text.split(maxsplit=5)
    if command == "open" and len(words) == 5:
        name, port, length, source, why = words
        [machine] = [it["id"] for it in call("GET", "/v1/names")["items"] if it["name"] == name]
        ports = [{"port": int(port), "duration": length, "sources": [source]}]
        send("access.request", message, person, targets=[{"target": machine, "ports": ports}], justification=why)
    elif command == "approve" and words:
        send("access.approve", message, person, request=words[0], shown=SHOWN[words[0]])
    else:
        tell(f"{person}, say `open MACHINE PORT LENGTH SOURCE REASON` or `approve REQUEST`")


def listen(cursor):
    while True:
        try:
            news = call("GET", f"/v1/events?after={cursor}&wait=PT20S")
        except OSError:  # Portcullis is being restarted: nothing is lost, the cursor goes on from here
            time.sleep(1)
            continue
        cursor = news["cursor"]
        for event in news["events"]:
            if event["kind"] == "request.needs_approval":
                SHOWN[event["detail"]["request"]] = event["detail"]["fact"]["shown"]
            if event["detail"].get("correlation_id", "").startswith(MINE):
                tell(f"{event['kind']}: {event['detail']['sentence']}")


threading.Thread(target=listen, args=[call("GET", "/v1/events")["cursor"]], daemon=True).start()
tell("listening")
for number, line in enumerate(sys.stdin):
    try:
        answer(f"{os.getpid()}-{number}", line)
    except (KeyError, ValueError, urllib.error.HTTPError) as error:
        tell(f"that did not work: {error!r}")
