//! From conditions on index fields to one range of index keys.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::show;
use crate::error::{Error, Result};
use crate::key;
use crate::persistence::KeyRange;
use crate::planted::{Bug, planted};
use crate::value::{FieldPath, Value};

/// A condition on one field of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeBound {
    /// How the field compares with the value.
    pub operator: BoundOperator,
    /// The field.
    pub field: FieldPath,
    /// The value; `None` means missing, which is below all values.
    pub value: Option<Value>,
}

/// How a field compares with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BoundOperator {
    /// Equal.
    Eq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
}

impl fmt::Display for RangeBound {
    /// `room == "a"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.operator {
            BoundOperator::Eq => "==",
            BoundOperator::Gt => ">",
            BoundOperator::Gte => ">=",
            BoundOperator::Lt => "<",
            BoundOperator::Lte => "<=",
        };
        write!(f, "{} {operator} {}", self.field, show(self.value.as_ref()))
    }
}

/// The bounds given for one field.
#[derive(Clone, Copy, Debug, Default)]
struct FieldBounds<'a> {
    equal: Option<&'a RangeBound>,
    lower: Option<&'a RangeBound>,
    upper: Option<&'a RangeBound>,
}

impl FieldBounds<'_> {
    fn is_unbounded(&self) -> bool {
        self.equal.is_none() && self.lower.is_none() && self.upper.is_none()
    }
}

/// The keys of an index over `fields` that satisfy all `bounds`; `index` names the index in errors.
///
/// Equalities must cover the first fields of the index, in whatever order they are written. The next field may have
/// a lower bound, an upper bound or both. No other field may have any.
///
/// # Errors
/// `FieldNotInIndex`, `AlreadyDefinedBound`, `BoundsOnMultipleFields`, `InvalidIndexRange`.
pub fn key_range(index: &str, fields: &[FieldPath], bounds: &[RangeBound]) -> Result<KeyRange> {
    let mut by_field = vec![FieldBounds::default(); fields.len()];
    for bound in bounds {
        let position = fields
            .iter()
            .position(|field| *field == bound.field)
            .ok_or_else(|| not_in_index(index, fields, bound))?;
        let slot = &mut by_field[position];
        let taken = match bound.operator {
            BoundOperator::Eq if !slot.is_unbounded() => true,
            BoundOperator::Eq => slot.equal.replace(bound).is_some(),
            _ if slot.equal.is_some() => true,
            BoundOperator::Gt | BoundOperator::Gte => slot.lower.replace(bound).is_some(),
            BoundOperator::Lt | BoundOperator::Lte => slot.upper.replace(bound).is_some(),
        };
        if taken {
            return Err(already_defined(index, bound));
        }
    }

    let mut unequal = (0..fields.len()).filter(|&position| {
        by_field[position].lower.is_some() || by_field[position].upper.is_some()
    });
    if let (Some(first), Some(second)) = (unequal.next(), unequal.next()) {
        return Err(bounds_on_two_fields(index, &fields[first], &fields[second]));
    }

    let prefix_len = by_field
        .iter()
        .take_while(|bounds| bounds.equal.is_some())
        .count();
    // The field after the equalities may be bounded; beyond it, nothing may be said.
    if let Some(skipped) =
        (prefix_len + 1..fields.len()).find(|&position| !by_field[position].is_unbounded())
    {
        return Err(out_of_order(index, fields, bounds, &fields[skipped]));
    }

    let mut prefix = Vec::new();
    for bounds in &by_field[..prefix_len] {
        let equal = bounds.equal.expect("the prefix is of equalities");
        key::encode_value(equal.value.as_ref(), &mut prefix);
    }
    let next = by_field.get(prefix_len).copied().unwrap_or_default();
    let mut range = KeyRange::prefix(prefix.clone());
    if let Some(lower) = next.lower {
        let key = extended(&prefix, lower);
        range.start = match lower.operator {
            BoundOperator::Gt => key::after_prefix(key),
            _ => key,
        };
    }
    if let Some(upper) = next.upper {
        let key = extended(&prefix, upper);
        range.end = Some(match upper.operator {
            BoundOperator::Lt if planted(Bug::UpperBoundIncluded) => key::after_prefix(key),
            BoundOperator::Lte => key::after_prefix(key),
            _ => key,
        });
    }
    Ok(range)
}

/// What all keys with the prefix and the bound's value begin with.
fn extended(prefix: &[u8], bound: &RangeBound) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key::encode_value(bound.value.as_ref(), &mut key);
    key
}

fn listed<'a>(fields: impl IntoIterator<Item = &'a FieldPath>) -> String {
    let names: Vec<_> = fields.into_iter().map(FieldPath::to_string).collect();
    format!("[{}]", names.join(", "))
}

fn not_in_index(index: &str, fields: &[FieldPath], bound: &RangeBound) -> Error {
    Error::bad_request(
        "FieldNotInIndex",
        format!(
            "The range of index {index} uses the field {:?}, which the index does not have. Its fields are {}.",
            bound.field.to_string(),
            listed(fields)
        ),
    )
}

fn already_defined(index: &str, bound: &RangeBound) -> Error {
    Error::bad_request(
        "AlreadyDefinedBound",
        format!(
            "The range of index {index} bounds the field {:?} more than once: `{bound}` comes after another bound of \
             the same side or an equality. A field takes one equality, or one lower and one upper bound.",
            bound.field.to_string(),
        ),
    )
}

fn bounds_on_two_fields(index: &str, first: &FieldPath, second: &FieldPath) -> Error {
    Error::bad_request(
        "BoundsOnMultipleFields",
        format!(
            "The range of index {index} has upper or lower bounds on the fields \"{first}\" and \"{second}\". Only one \
             field of an index can have them; use `.filter` for the other."
        ),
    )
}

fn out_of_order(
    index: &str,
    fields: &[FieldPath],
    bounds: &[RangeBound],
    first_incorrect: &FieldPath,
) -> Error {
    Error::bad_request(
        "InvalidIndexRange",
        format!(
            "The range of index {index} does not use the index's fields in order. Index fields: {}. Fields used: {}. \
             First incorrect field: \"{first_incorrect}\". Each field before it needs an equality.",
            listed(fields),
            listed(bounds.iter().map(|bound| &bound.field)),
        ),
    )
}

#[cfg(test)]
mod tests {
    use BoundOperator::*;

    use super::*;

    fn fields() -> Vec<FieldPath> {
        ["a", "b.c", "_creationTime"]
            .map(|field| FieldPath::parse(field).unwrap())
            .to_vec()
    }

    fn bound(operator: BoundOperator, field: &str, value: impl Into<Option<Value>>) -> RangeBound {
        RangeBound {
            operator,
            field: FieldPath::parse(field).unwrap(),
            value: value.into(),
        }
    }

    fn code(bounds: &[RangeBound]) -> String {
        key_range("t.by_a", &fields(), bounds)
            .unwrap_err()
            .code
            .into_owned()
    }

    #[test]
    fn rules() {
        let one = || Value::Int64(1);
        assert_eq!(code(&[bound(Eq, "b", one())]), "FieldNotInIndex");
        assert_eq!(code(&[bound(Eq, "b.c", one())]), "InvalidIndexRange");
        assert_eq!(code(&[bound(Gt, "b.c", one())]), "InvalidIndexRange");
        assert_eq!(
            code(&[bound(Gt, "a", one()), bound(Eq, "b.c", one())]),
            "InvalidIndexRange"
        );
        assert_eq!(
            code(&[bound(Eq, "a", one()), bound(Eq, "_creationTime", one())]),
            "InvalidIndexRange"
        );
        assert_eq!(
            code(&[bound(Gt, "a", one()), bound(Lt, "b.c", one())]),
            "BoundsOnMultipleFields"
        );
        for (first, second) in [(Eq, Eq), (Gt, Gte), (Lt, Lte), (Eq, Gt), (Lt, Eq)] {
            assert_eq!(
                code(&[bound(first, "a", one()), bound(second, "a", one())]),
                "AlreadyDefinedBound"
            );
        }
        // The order of writing does not matter, nor do contradictions.
        let swapped = [bound(Eq, "b.c", one()), bound(Eq, "a", one())];
        key_range("t.by_a", &fields(), &swapped).unwrap();
        let empty = [bound(Gt, "a", Value::Int64(2)), bound(Lt, "a", one())];
        assert!(key_range("t.by_a", &fields(), &empty).unwrap().is_empty());
        assert_eq!(
            key_range("t.by_a", &fields(), &[]).unwrap(),
            KeyRange::prefix(Vec::new())
        );
    }

    #[test]
    fn messages_list_the_fields() {
        let error = key_range("t.by_a", &fields(), &[bound(Eq, "b.c", None)]).unwrap_err();
        assert!(
            error.message.contains(
                "Index fields: [a, b.c, _creationTime]. Fields used: [b.c]. First incorrect field: \"b.c\""
            ),
            "{error}"
        );
    }
}
