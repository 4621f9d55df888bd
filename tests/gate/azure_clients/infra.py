"""What a Bicep file deploys, as far as can be told without Azure: it is parsed, and what it says is worked out.

    infra.py FILE PARAMETERS

PARAMETERS is a JSON object. Prints the resources that are deployed, and the outputs, as JSON. What only Azure
knows is a text such as `guards.id`. A parameter, property or function that is not there is an error.
"""

import json
import sys
from pathlib import Path

from pycep import BicepParser

# What a deployment knows of where it is.
AROUND = {
    "deployment": {"location": "westeurope"},
    "subscription": {"id": "/subscriptions/S"},
    "tenant": {"tenantId": "T"},
}


class Known(dict):
    """A resource, of which only Azure knows what is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __missing__(self, field: str) -> object:
        return Known(f"{self.name}.{field}") if field == "properties" else f"{self.name}.{field}"


class Deployment:
    """One file, with its parameters."""

    def __init__(self, file: Path, given: dict) -> None:
        self.file = file
        self.said = BicepParser().parse(file_path=file)
        parameters = self.said.get("parameters", {})
        unknown = given.keys() - parameters.keys()
        if unknown:
            raise KeyError(f"{file.name} has no parameters {unknown}")
        self.names: dict = {}
        for name, it in parameters.items():
            if name not in given and it["default"] is None:
                raise KeyError(f"{file.name} needs {name}")
            self.names[name] = given[name] if name in given else self.value(it["default"])
        for name, it in self.said.get("variables", {}).items():
            self.names[name] = self.value(it["value"])
        self.resources: list = []
        for name in self.said["resources"]:
            self.names[name] = Known(name)
        for name, it in self.said.get("modules", {}).items():
            self.module(name, it)
        for name, it in self.said["resources"].items():
            self.resource(name, it)
        self.outputs = {name: self.value(it["value"]) for name, it in self.said.get("outputs", {}).items()}

    def module(self, name: str, it: dict) -> None:
        config = it["config"]
        if "condition" in config:
            if not self.value(config["condition"]):
                return
            config = config["config"]
        inner = Deployment(self.file.parent / it["detail"]["path"], self.value(config["params"]))
        self.resources += inner.resources
        self.names[name] = {"outputs": {field: f"{name}.{field}" for field in inner.outputs}}

    def resource(self, name: str, it: dict) -> None:
        config, items = it["config"], [None]
        if "loop_type" in config:
            loop = config["loop_type"]["detail"]
            items = [{loop["item_name"]: one} for one in self.names[loop["array_name"]]]
        elif "condition" in config and not self.value(config["condition"]):
            return
        config = config["config"] if "config" in config else config
        for item in items:
            self.names.update(item or {})
            body = self.value(config)
            self.resources.append({"symbol": name, "type": it["type"], "version": it["api_version"], **body})

    def value(self, it: object) -> object:
        if isinstance(it, str):
            return self.names.get(it, it)
        if isinstance(it, list):
            return [self.value(one) for one in it]
        if not isinstance(it, dict):
            return it
        if "operator" in it:
            return self.operator(it["operator"]["type"], it["operator"]["operands"])
        if "function" in it:
            return self.function(it["function"]["type"], it["function"].get("parameters") or {})
        return {name: self.value(one) for name, one in it.items()}

    def operator(self, kind: str, operands: dict) -> object:
        if kind == "not":
            return not self.value(operands["bool_value"])
        if kind == "conditional":
            return self.value(operands["true_value" if self.value(operands["condition"]) else "false_value"])
        if kind == "property_accessor":
            return self.field(self.value(operands["operand_1"]), operands["operand_2"])
        raise NotImplementedError(kind)

    def field(self, of: dict, path: object) -> object:
        if isinstance(path, str):
            return of[path]
        operands = path["operator"]["operands"]
        return self.field(of[operands["operand_1"]], operands["operand_2"])

    def function(self, kind: str, given: dict) -> object:
        if kind in AROUND:
            return AROUND[kind]
        if kind == "empty":
            return not self.value(given["item_to_test"])
        if kind == "load_json_content":
            return json.loads((self.file.parent / given["file_path"]).read_text())
        if kind == "guid":
            return "guid " + " ".join(str(self.value(one)) for one in given.values() if one is not None)
        if kind in ("filter", "map"):
            items, step = given.values()
            step = step["detail"]
            made = [(one, self.within({step["var_1"]: one}, step["expression"])) for one in self.value(items)]
            return [one for one, keep in made if keep] if kind == "filter" else [new for _, new in made]
        raise NotImplementedError(kind)

    def within(self, names: dict, expression: object) -> object:
        before = dict(self.names)
        self.names.update(names)
        value = self.value(expression)
        self.names = before
        return value


if __name__ == "__main__":
    deployed = Deployment(Path(sys.argv[1]), json.loads(sys.argv[2]))
    print(json.dumps({"resources": deployed.resources, "outputs": deployed.outputs}))
