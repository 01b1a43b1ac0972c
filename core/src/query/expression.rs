//! Filter expressions: reading and evaluating them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::{Value as Json, json};

use super::{invalid, maybe_to_json, show};
use crate::error::{Error, Result};
use crate::value::{FieldPath, Object, Value, maybe_from_json};

/// Deepest nesting of expressions.
pub const EXPRESSION_DEPTH_MAX: usize = 128;

/// A computation over one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A constant; `None` is the missing value.
    Literal(Option<Value>),
    /// The value of a field, or the missing value.
    Field(FieldPath),
    /// A comparison in the total order of values, the missing value lowest. Never fails.
    Compare(Comparison, Box<[Expression; 2]>),
    /// Arithmetic on two Int64 or two Float64.
    Arithmetic(Arithmetic, Box<[Expression; 2]>),
    /// Change of sign.
    Negate(Box<Expression>),
    /// Whether all are true; stops at the first that is not.
    And(Vec<Expression>),
    /// Whether one is true; stops at the first that is.
    Or(Vec<Expression>),
    /// The opposite of a boolean.
    Not(Box<Expression>),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
}

/// An operation on two numbers of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; of integers, cut towards zero.
    Div,
    /// Remainder, with the sign of the dividend.
    Mod,
}

impl Comparison {
    const ALL: [(&'static str, &'static str, Self); 6] = [
        ("$eq", "==", Self::Eq),
        ("$neq", "!=", Self::Neq),
        ("$lt", "<", Self::Lt),
        ("$lte", "<=", Self::Lte),
        ("$gt", ">", Self::Gt),
        ("$gte", ">=", Self::Gte),
    ];

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Neq => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Lte => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Gte => ordering.is_ge(),
        }
    }
}

impl Arithmetic {
    const ALL: [(&'static str, &'static str, Self); 5] = [
        ("$add", "+", Self::Add),
        ("$sub", "-", Self::Sub),
        ("$mul", "*", Self::Mul),
        ("$div", "/", Self::Div),
        ("$mod", "%", Self::Mod),
    ];

    fn of_integers(self, left: i64, right: i64) -> Option<i64> {
        match self {
            Self::Add => left.checked_add(right),
            Self::Sub => left.checked_sub(right),
            Self::Mul => left.checked_mul(right),
            Self::Div => left.checked_div(right),
            Self::Mod => left.checked_rem(right),
        }
    }

    fn of_doubles(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Sub => left - right,
            Self::Mul => left * right,
            Self::Div => left / right,
            Self::Mod => left % right,
        }
    }
}

/// The two spellings of an operator: in JSON and for people.
fn spelling<T: Copy + PartialEq>(
    all: &'static [(&'static str, &'static str, T)],
    operator: T,
) -> (&'static str, &'static str) {
    let (json, shown, _) = all
        .iter()
        .find(|(_, _, candidate)| *candidate == operator)
        .expect("every operator is listed");
    (json, shown)
}

fn find<T: Copy>(all: &[(&str, &str, T)], name: &str) -> Option<T> {
    all.iter()
        .find(|(json, _, _)| *json == name)
        .map(|(_, _, operator)| *operator)
}

impl Expression {
    /// Reads the form that functions send.
    ///
    /// # Errors
    /// `InvalidQuery`, `InvalidFieldPath`, or what is wrong with a value in it.
    pub fn from_json(json: &Json) -> Result<Self> {
        Self::parse(json, EXPRESSION_DEPTH_MAX)
    }

    fn parse(json: &Json, depth: usize) -> Result<Self> {
        let depth = depth.checked_sub(1).ok_or_else(|| {
            invalid(format_args!(
                "a filter nests deeper than the maximum of {EXPRESSION_DEPTH_MAX}"
            ))
        })?;
        let (name, operand) = json
            .as_object()
            .filter(|fields| fields.len() == 1)
            .and_then(|fields| fields.iter().next())
            .ok_or_else(|| invalid("an expression is an object with one field"))?;
        let all = |operands: &Json| {
            let operands = operands
                .as_array()
                .ok_or_else(|| invalid(format_args!("{name} takes a list of expressions")))?;
            operands
                .iter()
                .map(|operand| Self::parse(operand, depth))
                .collect::<Result<Vec<_>>>()
        };
        let both = || {
            let operands: [Expression; 2] = all(operand)?
                .try_into()
                .map_err(|_| invalid(format_args!("{name} takes two expressions")))?;
            Ok::<_, Error>(Box::new(operands))
        };
        let one = || Self::parse(operand, depth).map(Box::new);
        if let Some(comparison) = find(&Comparison::ALL, name) {
            return Ok(Self::Compare(comparison, both()?));
        }
        if let Some(arithmetic) = find(&Arithmetic::ALL, name) {
            return Ok(Self::Arithmetic(arithmetic, both()?));
        }
        Ok(match name.as_str() {
            "$literal" => Self::Literal(maybe_from_json(operand.clone())?),
            "$field" => {
                let path = operand
                    .as_str()
                    .ok_or_else(|| invalid("$field takes a field path"))?;
                Self::Field(FieldPath::parse(path)?)
            }
            "$neg" => Self::Negate(one()?),
            "$not" => Self::Not(one()?),
            "$and" => Self::And(all(operand)?),
            "$or" => Self::Or(all(operand)?),
            _ => return Err(invalid(format_args!("unknown operation {name:?}"))),
        })
    }

    /// The form that [`Self::from_json`] reads.
    pub fn to_json(&self) -> Json {
        let all = |operands: &[Expression]| operands.iter().map(Self::to_json).collect::<Vec<_>>();
        match self {
            Self::Literal(value) => json!({"$literal": maybe_to_json(value.as_ref())}),
            Self::Field(path) => json!({"$field": path.to_string()}),
            Self::Compare(comparison, operands) => {
                json!({spelling(&Comparison::ALL, *comparison).0: all(&operands[..])})
            }
            Self::Arithmetic(arithmetic, operands) => {
                json!({spelling(&Arithmetic::ALL, *arithmetic).0: all(&operands[..])})
            }
            Self::Negate(operand) => json!({"$neg": operand.to_json()}),
            Self::Not(operand) => json!({"$not": operand.to_json()}),
            Self::And(operands) => json!({"$and": all(operands)}),
            Self::Or(operands) => json!({"$or": all(operands)}),
        }
    }

    /// Its value for a document; `None` is the missing value.
    ///
    /// # Errors
    /// `EvalError` for operands of the wrong type, integer overflow and integer division by zero.
    pub fn evaluate<'a>(&'a self, document: &'a Object) -> Result<Option<Cow<'a, Value>>> {
        let value = match self {
            Self::Literal(value) => return Ok(value.as_ref().map(Cow::Borrowed)),
            Self::Field(path) => return Ok(path.get(document).map(Cow::Borrowed)),
            Self::Compare(comparison, operands) => {
                let [left, right] = &**operands;
                let (left, right) = (left.evaluate(document)?, right.evaluate(document)?);
                // `None`, the missing value, is below every `Some`.
                Value::Boolean(comparison.holds(left.as_deref().cmp(&right.as_deref())))
            }
            Self::Arithmetic(arithmetic, operands) => {
                let [left, right] = &**operands;
                let (left, right) = (left.evaluate(document)?, right.evaluate(document)?);
                compute(*arithmetic, left.as_deref(), right.as_deref())?
            }
            Self::Negate(operand) => match operand.evaluate(document)?.as_deref() {
                Some(Value::Int64(number)) => {
                    Value::Int64(number.checked_neg().ok_or_else(|| {
                        eval_error(format_args!("-({number}) is beyond the range of int64"))
                    })?)
                }
                Some(Value::Float64(number)) => Value::Float64(-number),
                other => {
                    return Err(eval_error(format_args!(
                        "only int64 and float64 can be negated, not {}",
                        described(other)
                    )));
                }
            },
            Self::Not(operand) => Value::Boolean(!operand.evaluate_boolean(document)?),
            Self::And(operands) => {
                let mut all = true;
                for operand in operands {
                    all = operand.evaluate_boolean(document)?;
                    if !all {
                        break;
                    }
                }
                Value::Boolean(all)
            }
            Self::Or(operands) => {
                let mut any = false;
                for operand in operands {
                    any = operand.evaluate_boolean(document)?;
                    if any {
                        break;
                    }
                }
                Value::Boolean(any)
            }
        };
        Ok(Some(Cow::Owned(value)))
    }

    /// Its value for a document, which must be a boolean.
    ///
    /// # Errors
    /// `EvalError`.
    pub fn evaluate_boolean(&self, document: &Object) -> Result<bool> {
        match self.evaluate(document)?.as_deref() {
            Some(Value::Boolean(truth)) => Ok(*truth),
            other => Err(eval_error(format_args!(
                "`{}` must be a boolean but is {}",
                cut(self.to_string()),
                described(other)
            ))),
        }
    }
}

fn compute(operator: Arithmetic, left: Option<&Value>, right: Option<&Value>) -> Result<Value> {
    let shown = spelling(&Arithmetic::ALL, operator).1;
    match (left, right) {
        (Some(Value::Int64(left)), Some(Value::Int64(right))) => operator
            .of_integers(*left, *right)
            .map(Value::Int64)
            .ok_or_else(|| {
                eval_error(format_args!(
                    "{left} {shown} {right} divides by zero or is beyond the range of int64"
                ))
            }),
        (Some(Value::Float64(left)), Some(Value::Float64(right))) => {
            Ok(Value::Float64(operator.of_doubles(*left, *right)))
        }
        _ => Err(eval_error(format_args!(
            "`{shown}` takes two int64 or two float64, not {} and {}",
            described(left),
            described(right)
        ))),
    }
}

fn eval_error(reason: fmt::Arguments<'_>) -> Error {
    Error::bad_request(
        "EvalError",
        format!("A filter could not be evaluated: {reason}."),
    )
}

fn described(value: Option<&Value>) -> String {
    match value {
        Some(known) => format!("{} ({})", show(value), known.type_name()),
        None => show(None),
    }
}

/// The beginning of a text that goes into an error.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(200));
    text
}

impl fmt::Display for Expression {
    /// `(a.b == 1.0 && !done)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let infix = |f: &mut fmt::Formatter<'_>, operator: &str, operands: &[Expression]| {
            f.write_str("(")?;
            for (i, operand) in operands.iter().enumerate() {
                if i > 0 {
                    write!(f, " {operator} ")?;
                }
                operand.fmt(f)?;
            }
            f.write_str(")")
        };
        match self {
            Self::Literal(value) => f.write_str(&show(value.as_ref())),
            Self::Field(path) => path.fmt(f),
            Self::Compare(comparison, operands) => {
                infix(f, spelling(&Comparison::ALL, *comparison).1, &operands[..])
            }
            Self::Arithmetic(arithmetic, operands) => {
                infix(f, spelling(&Arithmetic::ALL, *arithmetic).1, &operands[..])
            }
            Self::Negate(operand) => write!(f, "-{operand}"),
            Self::Not(operand) => write!(f, "!{operand}"),
            Self::And(operands) if operands.is_empty() => f.write_str("true"),
            Self::Or(operands) if operands.is_empty() => f.write_str("false"),
            Self::And(operands) => infix(f, "&&", operands),
            Self::Or(operands) => infix(f, "||", operands),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Object {
        Object::from_fields([
            ("int", Value::Int64(7)),
            ("min", Value::Int64(i64::MIN)),
            ("float", Value::Float64(2.5)),
            ("yes", Value::Boolean(true)),
            ("text", Value::from("x")),
        ])
        .unwrap()
    }

    fn evaluate(json: Json) -> Result<Option<Value>> {
        let expression = Expression::from_json(&json)?;
        assert_eq!(Expression::from_json(&expression.to_json())?, expression);
        Ok(expression.evaluate(&document())?.map(Cow::into_owned))
    }

    fn int(number: i64) -> Json {
        json!({"$literal": Value::Int64(number).to_json()})
    }

    #[test]
    fn results() {
        let field = |name| json!({"$field": name});
        let literal = |value: Json| json!({"$literal": value});
        let undefined = || literal(json!({"$undefined": null}));
        let fails = || json!({"$not": {"$field": "text"}});
        for (expression, expected) in [
            (field("absent"), None),
            (undefined(), None),
            (field("text"), Some(Value::from("x"))),
            (
                json!({"$add": [field("int"), int(1)]}),
                Some(Value::Int64(8)),
            ),
            (
                json!({"$sub": [int(1), field("int")]}),
                Some(Value::Int64(-6)),
            ),
            (json!({"$div": [int(-7), int(2)]}), Some(Value::Int64(-3))),
            (json!({"$mod": [int(-7), int(2)]}), Some(Value::Int64(-1))),
            (
                json!({"$mul": [field("float"), literal(json!(2))]}),
                Some(Value::Float64(5.0)),
            ),
            (
                json!({"$div": [field("float"), literal(json!(0))]}),
                Some(Value::Float64(f64::INFINITY)),
            ),
            (
                json!({"$mod": [literal(json!(-7.5)), literal(json!(2))]}),
                Some(Value::Float64(-1.5)),
            ),
            (json!({"$neg": field("float")}), Some(Value::Float64(-2.5))),
            (
                json!({"$eq": [field("absent"), undefined()]}),
                Some(true.into()),
            ),
            (
                json!({"$eq": [field("absent"), literal(json!(null))]}),
                Some(false.into()),
            ),
            (
                json!({"$lt": [field("absent"), literal(json!(null))]}),
                Some(true.into()),
            ),
            (
                json!({"$eq": [field("int"), literal(json!(7))]}),
                Some(false.into()),
            ),
            (
                json!({"$lt": [field("int"), literal(json!(-1e9))]}),
                Some(true.into()),
            ),
            (
                json!({"$gte": [field("text"), field("yes")]}),
                Some(true.into()),
            ),
            (
                json!({"$neq": [field("text"), field("text")]}),
                Some(false.into()),
            ),
            (json!({"$and": []}), Some(true.into())),
            (json!({"$or": []}), Some(false.into())),
            (
                json!({"$and": [literal(json!(false)), fails()]}),
                Some(false.into()),
            ),
            (json!({"$or": [field("yes"), fails()]}), Some(true.into())),
            (json!({"$not": field("yes")}), Some(false.into())),
        ] {
            assert_eq!(evaluate(expression.clone()), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn errors() {
        let field = |name| json!({"$field": name});
        for (expression, part) in [
            (
                json!({"$add": [field("int"), field("float")]}),
                "7 (int64) and 2.5 (float64)",
            ),
            (
                json!({"$add": [field("absent"), int(1)]}),
                "undefined and 1 (int64)",
            ),
            (json!({"$mul": [field("min"), int(2)]}), "beyond the range"),
            (json!({"$div": [field("min"), int(-1)]}), "beyond the range"),
            (json!({"$mod": [field("int"), int(0)]}), "divides by zero"),
            (json!({"$neg": field("min")}), "beyond the range"),
            (json!({"$neg": field("text")}), "\"x\" (string)"),
            (
                json!({"$not": field("absent")}),
                "`absent` must be a boolean but is undefined",
            ),
            (json!({"$and": [field("yes"), field("int")]}), "7 (int64)"),
            (
                json!({"$or": [field("text"), field("yes")]}),
                "\"x\" (string)",
            ),
        ] {
            let error = evaluate(expression).unwrap_err();
            assert_eq!(error.code, "EvalError");
            assert!(error.message.contains(part), "{error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested =
            |depth| (1..depth).fold(json!({"$field": "yes"}), |inner, _| json!({"$not": inner}));
        assert!(Expression::from_json(&nested(EXPRESSION_DEPTH_MAX)).is_ok());
        let error = Expression::from_json(&nested(EXPRESSION_DEPTH_MAX + 1)).unwrap_err();
        assert!(error.message.contains("128"), "{error}");
    }

    #[test]
    fn shown_forms() {
        let expression = Expression::from_json(&json!({"$and": [
            {"$eq": [{"$field": "a.b"}, {"$literal": 1}]},
            {"$not": {"$field": "done"}},
            {"$or": []},
        ]}));
        assert_eq!(
            expression.unwrap().to_string(),
            "((a.b == 1.0) && !done && false)"
        );
        let always = Expression::from_json(&json!({"$and": []}));
        assert_eq!(always.unwrap().to_string(), "true");
        let long = Expression::from_json(&json!({"$literal": "ä".repeat(500)}));
        let long = long.unwrap().to_string();
        assert!(long.ends_with('…') && long.len() < 250, "{long}");
    }
}
