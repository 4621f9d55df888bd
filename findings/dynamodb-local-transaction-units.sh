#!/usr/bin/env bash
# DynamoDB Local 1.25 (inside npm's amplify-dynamodb-simulator 2.9.30): a transaction that writes several items of one size is said to
# consume what one of them does, however many they are. Items of different sizes add up.
#
# Seen: puts of 1, 3 and 20 items of a hundred bytes consume 4 units each time; one of 100 bytes and one of 1,500 together 12. AWS
# documents two units for each kilobyte of each item: 2, 6, 40 and 6.
#
# It matters to whoever reckons a bill from ConsumedCapacity on the emulator: a life of many small items looks cheaper than it is.
#
# Needs npm, Java 17 and python3, and `unshare` as root: the emulator would listen on every interface, and gets a network of its own.
# Runs by itself, in a temporary folder; exit code 1 if the emulator does otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm pack --silent --ignore-scripts amplify-dynamodb-simulator@2.9.30 >/dev/null
tar -xzf amplify-dynamodb-simulator-2.9.30.tgz
cat >ask.py <<'PYTHON'
import json, subprocess, sys, time, urllib.error, urllib.request

PORT = 8123
server = subprocess.Popen(
    ["java", "-Djava.library.path=./DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar", "-inMemory", "-sharedDb",
     "-disableTelemetry", "-port", str(PORT)],
    cwd="package/emulator", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def call(operation, **body):
    headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Content-Type": "application/x-amz-json-1.0",
               "Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/dynamodb/aws4_request, "
               "SignedHeaders=host;x-amz-date;x-amz-target, Signature=0", "X-Amz-Date": "20260101T000000Z"}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}", json.dumps(body).encode(), headers)
    try:
        return json.load(urllib.request.urlopen(request, timeout=10))
    except urllib.error.HTTPError as refused:
        sys.exit(f"{operation}: {refused.read().decode()}")


def consumed(name, sizes):
    puts = [{"Put": {"TableName": "items", "Item": {"pk": {"S": f"{name}-{n}"}, "body": {"S": "x" * size}}}}
            for n, size in enumerate(sizes)]
    answer = call("TransactWriteItems", TransactItems=puts, ReturnConsumedCapacity="TOTAL")
    return answer["ConsumedCapacity"][0]["CapacityUnits"]


try:
    for _ in range(100):
        try:
            call("ListTables")
            break
        except OSError:
            time.sleep(0.2)
    call("CreateTable", TableName="items", BillingMode="PAY_PER_REQUEST",
         AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
         KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}])
    seen = [consumed("one", [100]), consumed("three", [100] * 3), consumed("twenty", [100] * 20),
            consumed("two sizes", [100, 1500])]
    print("1, 3 and 20 equal items, and two of different sizes:", seen)
    sys.exit(seen != [4.0, 4.0, 4.0, 12.0])
finally:
    server.kill()
PYTHON
unshare --net sh -c 'ip link set lo up; python3 ask.py'
