"""Request and response of Azure ML Studio (classic): its address, its parameters, its shape of errors."""

from __future__ import annotations

from ludocast.serve.codecs.classic import DETAILS, FORMAT
from ludocast.serve.http.message import RefusedError, Reply, Request, Response, json_response
from ludocast.serve.http.router import Route, Router
from ludocast.serve.openapi import json_content, operation
from ludocast.serve.service import Service

# Our status to theirs, code, what it says, and the code of its detail:
# https://learn.microsoft.com/previous-versions/azure/machine-learning/classic/web-service-error-codes
_BAD_REQUEST = (400, "BadArgument", "Invalid argument provided.", "RequestBodyInvalid")
_ERRORS = {
    401: (401, "Unauthorized", "The request may not access the resource.", "ScoreRequestUnauthorized"),
    403: (403, "Unauthorized", "The request may not access the resource.", "ScoreRequestUnauthorized"),
    404: (404, "NotFound", "Resource not found.", "WebServiceNotFound"),
    408: (408, "RequestTimeout", "The operation took longer than it may.", "ScoreRequestTimeout"),
    413: (413, "BadArgument", "Invalid argument provided.", "RequestBodyInvalid"),
    415: (415, "BadArgument", "Invalid argument provided.", "RequestBodyInvalid"),
    422: (400, "BadUserArgument", "User argument provided is invalid.", "InputParseError"),
    429: (503, "ServiceUnavailable", "Service is temporarily unavailable.", "TooManyConcurrentRequests"),
    500: (500, "InternalError", "Execution encountered an internal error.", "UnknownError"),
    503: (503, "ServiceUnavailable", "Service is temporarily unavailable.", "NoMoreResources"),
}


_QUERY = [
    {"name": "api-version", "in": "query", "schema": {"type": "string", "const": "2.0"}},
    {"name": DETAILS, "in": "query", "schema": {"type": "boolean"}, "description": "With the types of columns."},
    {"name": FORMAT, "in": "query", "schema": {"type": "string", "const": "swagger"}, "description": "Records."},
]
_TABLE = {
    "type": "object",
    "required": ["ColumnNames", "Values"],
    "properties": {
        "ColumnNames": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "Values": {"type": "array", "minItems": 1, "items": {"type": "array"}},
    },
}
_RECORDS = {"type": "array", "minItems": 1, "items": {"type": "object"}}
_BODY = {
    "required": True,
    "content": json_content(
        {
            "type": "object",
            "required": ["Inputs"],
            "properties": {
                "Inputs": {"type": "object", "properties": {"input1": {"anyOf": [_TABLE, _RECORDS]}}},
                "GlobalParameters": {"type": "object"},
            },
        }
    ),
}


def add_classic_routes(router: Router, service: Service) -> None:
    """Predictions of the model that a service's id names."""

    def execute(request: Request, reply: Reply) -> None:
        query = request.query
        version = query.get("api-version", "2.0")
        if version != "2.0":
            raise RefusedError(400, f'api-version: expected 2.0, got "{version[:40]}"')
        options = {name: query[name] for name in (DETAILS, FORMAT) if name in query}
        service.predict(request, reply, "classic", service.model_of(request.names["id"]), options)

    asked = operation(
        "Azure ML Studio (classic)", "Predict for the rows of a table.", parameters=_QUERY, requestBody=_BODY
    )
    path = "/workspaces/{workspace}/services/{id}/execute"
    router.add("POST", path, Route(execute, scope="predict", refuse=classic_error, document=asked))


def classic_error(error: RefusedError) -> Response:
    """{"error": {"code", "message", "details"}}, the sentence in its detail."""
    status, code, message, detail = _ERRORS.get(error.status, _BAD_REQUEST)
    details = [{"code": detail, "message": str(error)}]
    return json_response({"error": {"code": code, "message": message, "details": details}}, status, error.headers)
