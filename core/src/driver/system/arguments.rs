//! What the arguments of system functions must match, in a form that constants can have.

use std::collections::BTreeMap;

use crate::schema::{FieldValidator, ObjectValidator, Validator};
use crate::value::Value;

/// The type of an argument.
pub(super) enum Arg {
    /// `v.any()`.
    Any,
    /// `v.string()`.
    Text,
    /// `v.number()`.
    Number,
    /// A union of these texts.
    OneOf(&'static [&'static str]),
    /// `v.record(v.string(), v.any())`.
    Fields,
    /// `v.object(…)`.
    Object(&'static [(&'static str, Arg)]),
    /// `v.array(…)`.
    Array(&'static Arg),
    /// `v.nullable(…)`.
    Nullable(&'static Arg),
    /// `v.optional(…)`: of a field.
    Optional(&'static Arg),
}

/// `paginationOpts`, as clients send them.
pub(super) const PAGINATION: (&str, Arg) = (
    "paginationOpts",
    Arg::Object(&[
        ("numItems", Arg::Number),
        ("cursor", Arg::Nullable(&Arg::Text)),
        ("endCursor", Arg::Optional(&Arg::Nullable(&Arg::Text))),
        ("id", Arg::Optional(&Arg::Number)),
        ("maximumRowsRead", Arg::Optional(&Arg::Number)),
        ("maximumBytesRead", Arg::Optional(&Arg::Number)),
    ]),
);

impl Arg {
    fn validator(&self) -> Validator {
        match self {
            Arg::Any => Validator::Any,
            Arg::Text => Validator::String,
            Arg::Number => Validator::Number,
            Arg::OneOf(texts) => {
                let literal = |text: &&str| Validator::Literal(Value::from(*text));
                Validator::Union(texts.iter().map(literal).collect())
            }
            Arg::Fields => Validator::Record {
                keys: Box::new(Validator::String),
                values: Box::new(Validator::Any),
            },
            Arg::Object(fields) => object_validator(fields.iter()),
            Arg::Array(element) => Validator::Array(Box::new(element.validator())),
            Arg::Nullable(arg) => Validator::Union(vec![arg.validator(), Validator::Null]),
            Arg::Optional(arg) => arg.validator(),
        }
    }
}

/// The validator of an object with these fields.
pub(super) fn object_validator<'a>(
    fields: impl Iterator<Item = &'a (&'static str, Arg)>,
) -> Validator {
    let fields: BTreeMap<_, _> = fields
        .map(|(name, arg)| {
            let field = FieldValidator {
                validator: arg.validator(),
                optional: matches!(arg, Arg::Optional(_)),
            };
            ((*name).to_owned(), field)
        })
        .collect();
    Validator::Object(ObjectValidator { fields })
}
