//! The schema of the fields, as the API server reads it: types, ranges, formats, and rules in CEL.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::Settings;
use super::network::{MAX_NETWORKS, Networks};
use super::reference::Maybe;
use super::traffic::RedirectStatus;
use super::units::{Count, Size, Span, write_size, write_time};
use super::words::{Word, Words};

/// Where a schema says its range in words; the generator of the CRD moves it into the description.
pub const RANGE: &str = "x-range";

const DURATION_PATTERN: &str = "^(0|[0-9]{1,9}(ms|s|m|h|d))$";
const SIZE_PATTERN: &str = "^[0-9]{1,9}(B|KiB|MiB|GiB)?$";

/// The milliseconds of a duration, in CEL.
fn cel_milliseconds(value: &str) -> String {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let factor: String =
        units.map(|(unit, factor)| format!("{value}.endsWith('{unit}') ? {factor} : ")).concat();
    format!("int({value}.find('^[0-9]+')) * ({factor}86400000)")
}

/// The bytes of a size, in CEL.
pub fn cel_bytes(value: &str) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let factor: String =
        units.map(|(unit, factor)| format!("string({value}).endsWith('{unit}') ? {factor} : ")).concat();
    format!("int(string({value}).find('^-?[0-9]+')) * ({factor}1)")
}

/// Whether what an expression comes to is in a range; what is `malformed` is refused by its pattern.
fn between(malformed: &str, expression: &str, min: u64, max: u64) -> String {
    format!("{malformed} || [{expression}].all(value, value >= {min} && value <= {max})")
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Span<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let range = format!("{} to {}", write_time(MIN), write_time(MAX));
        let rule =
            between(&format!("!self.matches('{DURATION_PATTERN}')"), &cel_milliseconds("self"), MIN, MAX);
        json_schema!({
            "type": "string",
            "maxLength": 11,
            "pattern": DURATION_PATTERN,
            "x-kubernetes-validations": [{"rule": rule, "message": format!("must be from {range}")}],
            RANGE: range,
        })
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Size<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let range = format!("{} to {}", write_size(MIN), write_size(MAX));
        let not_a_size = format!("type(self) == string && !string(self).matches('{SIZE_PATTERN}')");
        let rule = between(&format!("({not_a_size})"), &cel_bytes("self"), MIN, MAX);
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 12,
            "pattern": SIZE_PATTERN,
            "x-kubernetes-validations": [{"rule": rule, "message": format!("must be from {range}")}],
            RANGE: range,
        })
    }
}

impl<T, const MIN: u64, const MAX: u64> JsonSchema for Count<T, MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "format": "int64",
            "minimum": MIN,
            "maximum": MAX,
            RANGE: format!("{MIN} to {MAX}"),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Maybe<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl JsonSchema for Networks {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Networks".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "maxItems": MAX_NETWORKS,
            "items": {
                "type": "string",
                "maxLength": 43,
                "x-kubernetes-validations": [{
                    "rule": "isCIDR(self) || isIP(self)",
                    "message": "must be a network in CIDR notation or an IP address",
                }],
            },
            "x-kubernetes-list-type": "atomic",
        })
    }
}

/// One word of a list.
pub(crate) fn word<W: Word>() -> Schema {
    json_schema!({ "type": "string", "enum": W::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>() })
}

impl<W: Word + JsonSchema> JsonSchema for Words<W> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Words".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "minItems": 1,
            "maxItems": W::ALL.len(),
            "items": word::<W>(),
            "x-kubernetes-list-type": "set",
        })
    }
}

impl JsonSchema for RedirectStatus {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RedirectStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "format": "int64",
            "enum": RedirectStatus::ALL.map(RedirectStatus::code),
        })
    }
}

/// The default of every field, as it would be written.
pub fn written_defaults() -> Value {
    super::differences::written(&Settings::default())
}
