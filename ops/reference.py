"""The HTTP reference: the OpenAPI document as pages of Markdown, one for each of its tags and one of all schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]

METHODS = ("get", "put", "post", "patch", "delete")
SCHEMAS = "schemas"
#: Where the page of problems lies, seen from the pages of the reference.
ERRORS = "../errors.md"
#: Words of a schema that bound a value, and how a reader is told.
BOUNDS = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "minLength": "length ≥ {}",
    "maxLength": "length ≤ {}",
    "minItems": "≥ {} of them",
    "maxItems": "≤ {} of them",
    "default": "`{}` by default",
}


def pages(document: Document) -> dict[str, str]:
    """Markdown by the name of its page, in the document's order; the page of schemas comes last."""
    found = {tag["name"]: _page(document, tag) for tag in document["tags"]}
    schemas = [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    return found | {SCHEMAS: "\n\n".join(["# Schemas", *schemas]) + "\n"}


def _page(document: Document, tag: Document) -> str:
    told = [_operation(document, *each) for each in operations(document) if tag["name"] in each[2]["tags"]]
    return "\n\n".join([f"# {tag['name'].capitalize()}", f"{tag['description']}.", *told]) + "\n"


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Method, path and operation of all that can be asked."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                parameters = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                yield method, path, {**item[method], "parameters": parameters}


def _operation(document: Document, method: str, path: str, told: Document) -> str:
    scopes = [f"`{scope}`" for needed in told["security"] for scope in needed["key"]]
    parts = [
        f"## {told['summary']} {{: #{told['operationId']} }}",
        f"**`{method.upper()} {path}`** · {f'needs a key with the scope {scopes[0]}' if scopes else 'needs no key'}",
        told.get("description", ""),
        _parameters(told["parameters"]),
        *_body(told.get("requestBody", {"content": {}})),
        *_answers(document, told["responses"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _parameters(parameters: list[Document]) -> str:
    rows = [
        f"| `{each['name']}` | {each['in']} | {_type(each['schema'])} | {_cell(_said(each, each['schema'], each.get('required', False)))} |"
        for each in parameters
    ]
    return "\n".join(["| parameter | in | type | meaning |", "|---|---|---|---|", *rows]) if rows else ""


def _body(body: Document) -> Iterator[str]:
    for media_type, content in body["content"].items():
        yield f"**Body** `{media_type}`: {_type(content['schema'])}. {content['schema'].get('description', '')}".strip()
        yield from _examples(content)


def _answers(document: Document, responses: Document) -> Iterator[str]:
    refused = []
    for status, told in sorted(responses.items()):
        answer = document["components"]["responses"][_name(told["$ref"])] if "$ref" in told else told
        if int(status) >= 400:
            refused += re.findall(r"^\* `(\w+)`:", answer["description"], re.MULTILINE)
            continue
        shapes = " or ".join(f"`{media_type}` {_type(content['schema'])}" for media_type, content in answer.get("content", {}).items())
        yield f"**{status}** {answer.get('description', '')} {shapes}".rstrip()
        for content in answer.get("content", {}).values():
            yield from _examples(content)
    if refused:
        yield "**Refused** with " + ", ".join(f"[`{code}`]({ERRORS})" for code in dict.fromkeys(refused)) + "."


def _examples(content: Document) -> Iterator[str]:
    for example in content.get("examples", {}).values():
        value = example.get("value")
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
            block = "\n".join(f"    {line}" for line in (f"```{'text' if isinstance(value, str) else 'json'}", *text.splitlines(), "```"))
            yield f'??? example "{example["summary"]}"\n\n{block}'


def _schema(name: str, schema: Document) -> str:
    required = schema.get("required", ())
    members = schema.get("properties", {}).items()
    rows = [f"| `{member}` | {_type(told)} | {_cell(_said(told, told, member in required))} |" for member, told in members]
    table = "\n".join(["| member | type | meaning |", "|---|---|---|", *rows]) if rows else _type(schema)
    return f"## {name} {{: #{name.lower()} }}\n\n{schema.get('description', '')}\n\n{table}"


def _type(schema: Document) -> str:
    """In few words, with a link where it has a name."""
    if "$ref" in schema:
        name = _name(schema["$ref"])
        return f"[{name}]({SCHEMAS}.md#{name.lower()})"
    if "enum" in schema:
        return " or ".join(f"`{word}`" for word in schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(each) for each in schema[several])
    kinds = schema.get("type", "anything")
    told = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return f"{told} of {_type(schema['items'])}" if "items" in schema else told


def _said(told: Document, schema: Document, required: bool) -> str:
    bounds = [how.format(json.dumps(schema[word])) for word, how in BOUNDS.items() if schema.get(word) not in (None, {}, [])]
    meaning = [told.get("description", ""), "Required." if required else "", f"({'; '.join(bounds)})" if bounds else ""]
    return " ".join(part for part in meaning if part)


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]
