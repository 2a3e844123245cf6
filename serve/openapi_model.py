"""What the OpenAPI document tells of one model: what it reads, what it answers, with an example from its check rows."""

from __future__ import annotations

from typing import Any

from ludocast.serve.codecs.codec import MOST_ROWS
from ludocast.serve.manifest import Input, Manifest
from ludocast.serve.raw_events import AT, EVENTS, FEATURES_FILE
from ludocast.serve.suggest_options import USUAL_K

SHOWN_CATEGORIES = 20
_BINARY = {"type": "string", "contentMediaType": "application/octet-stream"}


def model_schemas(manifest: Manifest, prefix: str = "") -> dict[str, Any]:
    """Schemas of a model's records and answers; their names begin with the prefix."""
    record: dict[str, Any] = {
        "type": "object",
        "required": [item.column for item in manifest.inputs if item not in manifest.attributes],
        "properties": {item.column: _property(item) for item in manifest.inputs},
    }
    if manifest.task == "items":
        record["properties"] = {**record["properties"], **_options()}
    if manifest.sequence is not None:
        record["description"] = _sequence(manifest)
    answer = {
        "type": "object",
        "required": ["model", "version", "predictions", "warnings"],
        "properties": {
            "model": {"type": "string"},
            "version": {"type": "string"},
            "predictions": {"type": "array", "items": _ref(prefix, "Prediction")},
            "warnings": {"type": "array", "items": {"type": "string"}},
        },
    }
    columns = {
        "type": "object",
        "required": ["columns"],
        "properties": {
            "columns": {
                "type": "object",
                "required": record["required"],
                "properties": {name: {"type": "array", "items": cell} for name, cell in record["properties"].items()},
                "description": "Names to lists of one length.",
            }
        },
    }
    schemas = {"Record": record, "Columns": columns, "Prediction": _prediction(manifest), "Answer": answer}
    if FEATURES_FILE in manifest.files:
        schemas["Events"] = _events()
    return {f"{prefix}{name}": schema for name, schema in schemas.items()}


def predict_operation(manifest: Manifest, prefix: str = "") -> dict[str, Any]:
    """Of `POST /predict`."""
    record, columns = _ref(prefix, "Record"), _ref(prefix, "Columns")
    others = [_ref(prefix, "Events")] if FEATURES_FILE in manifest.files else []
    items = {"oneOf": [record, *others]} if others else record
    many = {"type": "array", "items": items, "minItems": 1, "maxItems": MOST_ROWS}
    example = dict(manifest.check_rows.rows[0])
    arrow = {f"application/vnd.apache.arrow.{form}": {"schema": _BINARY} for form in ("stream", "file")}
    deadline = {
        "name": "X-Deadline-Seconds",
        "in": "header",
        "schema": {"type": "number", "minimum": 0.01},
        "description": "Seconds after which the answer is of no use any more.",
    }
    return {
        "tags": [manifest.name],
        "summary": f"Predict for one record or a list of them by {manifest.name} {manifest.version}.",
        "description": "The answer is JSON; of an Arrow stream or file it is one too.",
        "parameters": [deadline],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [many, record, columns, *others]}, "example": [example]},
                "application/x-ndjson": {"schema": {"type": "string", "description": "A record a line."}},
                **arrow,
            },
        },
        "responses": {
            "200": {
                "description": "One prediction a record, in their order.",
                "content": {"application/json": {"schema": _ref(prefix, "Answer")}, **arrow},
            }
        },
    }


def _ref(prefix: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{prefix}{name}"}


def _events() -> dict[str, Any]:
    """Of `serve.raw_events.EventReader`."""
    time = {"type": ["string", "number"], "description": "ISO 8601, or a number since 1970 in s, ms, µs or ns."}
    event = {
        "type": "object",
        "required": ["time"],
        "properties": {
            "time": time,
            "event": {"type": ["string", "null"]},
            "amount": {"type": ["number", "null"]},
            "level": {"type": ["number", "null"]},
            "session": {"type": ["string", "null"]},
        },
    }
    at = "Features tell of midnight UTC of this day; by default of the one after the last event."
    return {
        "type": "object",
        "required": [EVENTS],
        "description": "A player's raw events, from which the features are worked out as those of the training were.",
        "properties": {
            EVENTS: {"type": "array", "minItems": 1, "items": event},
            AT: {"type": "string", "format": "date", "description": at},
        },
    }


def _options() -> dict[str, Any]:
    """Of `serve.suggest_options.SuggestOptions`; null is the default, and one id a list of one."""
    ids = {"type": ["array", "string", "integer", "null"], "items": {"type": ["string", "integer"]}}
    return {
        "k": {"type": ["integer", "null"], "minimum": 1, "description": f"Suggestions; {USUAL_K} by default."},
        "exclude_owned": {
            "type": ["boolean", "null"],
            "description": "Leave out what is in the history; true by default.",
        },
        "exclude": {**ids, "description": "Items that are not suggested."},
        "only": {**ids, "description": "Items of which alone suggestions are taken."},
        "category": {**ids, "description": "Values of the catalogue's category; only items of these are suggested."},
        "diversity": {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1,
            "description": "0, the default, is the order of scores; 1 is as different as can be.",
        },
    }


def _sequence(manifest: Manifest) -> str:
    sequence = manifest.sequence
    assert sequence is not None
    more = "a longer one is refused" if manifest.task == "tags" else "of more the last ones"
    order = "" if sequence.time is None else f', sorted by "{sequence.time}"'
    known = "" if sequence.now is None else f' Only those before "{sequence.now}" are known.'
    return f"Lists of one entry a step{order}; at most {sequence.longest:,} steps are read, {more}.{known}"


def _prediction(manifest: Manifest) -> dict[str, Any]:
    if manifest.task == "items":
        item = {
            "type": "object",
            "required": ["item", "score"],
            "properties": {
                "item": {"type": "string"},
                "score": {"type": "number", "description": "Higher is better."},
                "because": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "What of the history speaks most for it.",
                },
            },
        }
        what = "Suggestions, the best first; none is in the history."
        items = {"type": "array", "items": item, "description": what}
        return {"type": "object", "required": ["items"], "properties": {"items": items}}
    if manifest.has_lists:
        what = "Of each step." if manifest.task == "tags" else "What is likeliest next, the likeliest first."
        return {
            "type": "object",
            "required": ["labels", "probabilities"],
            "properties": {
                "labels": {"type": "array", "items": {"type": "string"}, "description": what},
                "probabilities": {"type": "array", "items": {"type": "number"}, "description": "One a label."},
            },
        }
    if manifest.has_numbers:
        within = f"Of the {manifest.coverage:.0%} interval."
        return {
            "type": "object",
            "required": ["value", "lower", "upper"],
            "properties": {
                "value": {"type": "number"},
                "lower": {"type": "number", "description": within},
                "upper": {"type": "number", "description": within},
            },
        }
    if manifest.measures is not None:
        measure, *more = manifest.measures
        number = {"type": "number"}
        each = {"type": "object", "properties": dict.fromkeys(manifest.classes, number)}
        score = {**number, "description": "Below 0.5 ordinary, near 1 odd."}
        segment = {"type": "string", "enum": list(manifest.classes)}
        return {
            "type": "object",
            "required": ["segment", *manifest.measures],
            "properties": {"segment": segment, measure: each, **dict.fromkeys(more, score)},
        }
    each_class = {"type": "object", "properties": {name: {"type": "number"} for name in manifest.classes}}
    if manifest.labels is not None:
        name = {"type": "string", "enum": list(manifest.classes)}
        return {
            "type": "object",
            "required": ["labels", "probabilities"],
            "properties": {
                "labels": {"type": "array", "items": name, "description": "Those that it has; any number of them."},
                "probabilities": each_class,
            },
        }
    return {
        "type": "object",
        "required": ["label", "probability", "probabilities"],
        "properties": {
            "label": {"type": "string", "enum": list(manifest.classes)},
            "probability": {"type": "number", "description": f"Of {manifest.positive or 'the label'}."},
            "probabilities": each_class,
        },
    }


def _property(item: Input) -> dict[str, Any]:
    kinds = {"number": ["number", "string", "boolean", "null"], "timestamp": ["string", "number", "null"]}
    text = {"type": kinds.get(item.kind, ["string", "number", "boolean", "null"]), "description": item.kind}
    if item.categories:
        text["examples"] = list(item.categories[:SHOWN_CATEGORIES])
    if item.range is not None:
        text["description"] = f"{item.kind}, {item.range[0]:g} to {item.range[1]:g} in training"
    if item.form == "cell":
        return text
    array = {"type": "array", "items": text}
    as_text = "a JSON array" if item.form == "list" else "words"
    return {"anyOf": [array, {"type": ["string", "null"], "description": as_text}]}
