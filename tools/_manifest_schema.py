"""Whether a manifest is well formed, by weights_manifest.schema.json beside this file."""

import functools
import json
import reprlib
import sys
from pathlib import Path

from jsonschema import Draft202012Validator
from jsonschema.validators import extend
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from dolg_zoo._util.json_files import json_text
from dolg_zoo.errors import ManifestError

SCHEMA = Path(__file__).with_name("weights_manifest.schema.json")
_shown = reprlib.Repr()
_shown.maxstring = 200
_shown.maxother = 60


def read_checked(path):
    """The JSON of a manifest.

    Raises:
        ManifestError: if the file is missing or not JSON, or a field is missing, unknown,
            malformed or there twice; names the entry, the field and the value.
    """
    try:
        content = json.loads(json_text(path), object_pairs_hook=_unique_keys)
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(f"{path} cannot be read as a manifest: {error}") from error
    check(content, path.name)
    return content


def check(content, name):
    """Raises ManifestError, as `read_checked`, if a manifest is malformed.

    Args:
        content: what `json.loads` gave.
        name: the name of the manifest in errors.
    """
    try:
        # the first error only: a file of another kind has one for each of its lines
        error = next(_validator().iter_errors(content), None)
    except RecursionError as error:
        raise ManifestError(f"{name} is nested too deeply for a manifest.") from error
    if error is not None:
        raise ManifestError(_explained(error, name))
    for both in content["presets"].keys() & content["checkpoints"].keys():
        raise ManifestError(f"{name}: {both!r} is both a preset and a checkpoint.")
    for kind in ("presets", "checkpoints"):
        for entry, fields in content[kind].items():
            _check_license(fields["license"], f"{name}: {kind}: {entry}")


def _check_license(expression, where):
    wanted = _validator().schema["$defs"]["license"]["description"]
    try:
        spelt = canonicalize_license_expression(expression)
    except InvalidLicenseExpression as error:
        raise ManifestError(
            f"{where}: license is {expression!r}; it must be {wanted}. {error}."
        ) from error
    if spelt != expression:
        raise ManifestError(f"{where}: license is {expression!r}; SPDX spells it {spelt!r}.")


def _unique_keys(pairs):
    # json keeps the last of two equal keys without a word, and with it the wrong hash.
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ManifestError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return fields


@functools.cache
def _validator():
    # A schema takes 7.0 for an integer, and cannot say that a number be finite.
    types = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: type(value) is int,
            "number": lambda _, value: (
                type(value) in (int, float) and abs(value) <= sys.float_info.max
            ),
        }
    )
    strict = extend(Draft202012Validator, type_checker=types)
    return strict(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _explained(error, name):
    where = name
    for step in error.absolute_path:
        where += f"[{step}]" if isinstance(step, int) else f": {step}"
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in error.instance if key not in known)
        return f"{where} has the unknown field {_shown.repr(unknown)}; known are {sorted(known)}."
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"{where} lacks the field {missing!r}."
    if "propertyNames" in error.absolute_schema_path:
        where = f"a name in {where}"
    return f"{where} is {_shown.repr(error.instance)}; it must be {error.schema['description']}."
