"""Hooks of schemathesis: what its configuration cannot say. README.md beside this says why."""

import json
import os
from pathlib import Path

import schemathesis

RECORDS = json.loads(Path(os.environ["AGENTRUN_FUZZ_RECORDS"]).read_text())

# The suite has no time to wait for what does not come.
LONGEST_WAIT_MS = 200


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    """A list is a body of lines; anything else, in tests of wrong bodies, is one line."""
    if isinstance(value, bytes):
        return value
    lines = value if isinstance(value, list) else [value]
    return "\n".join(json.dumps(line) for line in lines).encode()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Says what OpenAPI has no words for: lines of NDJSON, and that an opaque cursor is what the API answered, nothing else."""
    ingest = raw_schema["paths"]["/api/v1/runs/{runId}/ingest"]["post"]
    ingest["requestBody"]["content"]["application/x-ndjson"]["schema"] = {
        "type": "array",
        "items": {"$ref": "#/components/schemas/IngestLine"},
        "maxItems": 20,
    }
    for path in raw_schema["paths"].values():
        for operation in path.values():
            cursor = RECORDS["cursorOf"].get(operation.get("operationId"), "")
            for parameter in operation.get("parameters", []):
                if parameter.get("name") == "cursor":
                    parameter["schema"] = {"type": "string", "enum": [cursor]}


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """An id that exists, beside the id of a run that exists, becomes one of that run."""
    if isinstance(path_parameters, dict):
        own = RECORDS["ofRun"].get(path_parameters.get("runId"), {})
        for name, value in own.items():
            if path_parameters.get(name) in RECORDS[name]:
                path_parameters[name] = value
    return path_parameters


def _shorter(part):
    if isinstance(part, dict) and "waitMs" in part:
        wait = part["waitMs"]
        text = str(wait).strip()
        if not isinstance(wait, bool) and text.isdigit() and LONGEST_WAIT_MS < int(text) <= 25_000:
            part["waitMs"] = type(wait)(LONGEST_WAIT_MS)
    return part


@schemathesis.hook
def map_query(context, query):
    return _shorter(query)


@schemathesis.hook
def map_body(context, body):
    return _shorter(body)
