"""Does what README.md says under "Run it in your AWS account", word for word, and then what it says of every command.

    readme.py [--parameter NAME=VALUE]... [--api URL] [WORD=VALUE]...

WORD is one that stands for the reader's own: YOU, TENANT, CLIENT, READER, and any other of what is run, such as the name of a
machine. What the deployment names (TABLE-NAME, the address, the token) is put in by itself. --parameter is what the template
needs besides, here and in the account of nobody else. --api is where the API is heard if the output Url cannot be: {id}
in it is its first label. sam, cargo-lambda and portcullis are on the PATH, and the keys of AWS in the environment.

Prints, as JSON, each command with what it said, the address and the token; fails with the first command that fails.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
SECTION = "## Run it in your AWS account"
# What a reader of that section goes on with: "every command of this page works as it is".
PAGE = "**Next:**"
# How it says what to set.
EXPORT = "`export PORTCULLIS_URL=… PORTCULLIS_TOKEN=…`"
# How long a command may take, in seconds: the first one builds everything.
LIMIT = 3600


def main(*words):
    words, parameters, api = list(words), [], None
    while words and words[0].startswith("--"):
        option, value = words.pop(0), words.pop(0)
        if option == "--parameter":
            parameters.append(value)
        elif option == "--api":
            api = value
        else:
            sys.exit(f"{option}: see {__file__}")
    readers = dict(word.split("=", 1) for word in words)
    readme = (ROOT / "README.md").read_text()
    section = after(readme, SECTION)
    ran = []

    def run(command, **more):
        said = done(filled(command, readers), **more)
        ran.append({"command": command, "said": said})
        return said

    for command in commands(section):
        if command.startswith("sam "):
            # A list that is there already takes more; the question at the end is answered as the reader does.
            more = " ".join(parameters) if "--parameter-overrides" in command else f"--parameter-overrides {' '.join(parameters)}"
            command = f"{without_comment(command)} {more}" if parameters else command
        said = run(command, input="y\n")
        if command.startswith("portcullis token create"):
            token = said.strip()
        if command.startswith("sam deploy"):
            outputs = json.loads(done("sam list stack-outputs --stack-name portcullis --output json"))
            outputs = {it["OutputKey"]: it["OutputValue"] for it in outputs}
            readers["TABLE-NAME"] = outputs["TableName"]
    url = outputs["Url"]
    if api:
        url = api.replace("{id}", re.sub(r"^https?://", "", url).split(".")[0])
    if EXPORT not in section:
        sys.exit(f"{SECTION} does not say {EXPORT}")
    os.environ.update(PORTCULLIS_URL=url, PORTCULLIS_TOKEN=token)
    page = [it for it in commands(after(readme, PAGE)) if it.startswith("portcullis ")]
    if not page:
        sys.exit(f"{PAGE} has no commands")
    for command in page:
        run(command)
    print(json.dumps({"ran": ran, "url": url, "token": token}))


def after(text, heading):
    """What stands after a heading, up to the next one."""
    if text.count(heading) != 1:
        sys.exit(f"README.md has {heading} {text.count(heading)} times")
    return re.split(r"^## ", text.split(heading)[1], flags=re.MULTILINE)[0]


def commands(section):
    """The commands of its first block."""
    block = re.search(r"^```console\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    return [line[2:] for line in block[1].splitlines() if line.startswith("$ ")] if block else []


def filled(command, readers):
    for word, value in readers.items():
        command = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", value, command)
    left = re.findall(r"(?<![\w-])[A-Z][A-Z-]+(?![\w-])", without_comment(command))
    if left:
        sys.exit(f"nobody says what {left} is: {command}")
    return command


def without_comment(command):
    return re.sub(r"\s+#.*$", "", command)


def done(command, **more):
    print(f"$ {command}", file=sys.stderr, flush=True)
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=LIMIT, **more)
    print(ran.stdout, file=sys.stderr, flush=True)
    if ran.returncode:
        sys.exit(f"{command}: {ran.returncode}")
    return ran.stdout


main(*sys.argv[1:])
