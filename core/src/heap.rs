//! What values hold in memory, for everything that is kept from one request to another and therefore bounded.

use serde_json::Value as Json;

use crate::engine::{Failure, Frame, LogLine};
use crate::value::{FunctionPath, Object, Value};

/// What an allocator takes for its own use and for rounding, about, for each piece of memory.
pub(crate) const PIECE_BYTES: usize = 16;

/// Something that holds memory outside of itself.
pub(crate) trait Heap {
    /// How much, in bytes. At most a few percent less than what the allocator has given, however the value is made.
    fn heap_bytes(&self) -> usize;
}

/// A piece of memory of so many bytes.
pub(crate) fn piece(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        bytes => bytes + PIECE_BYTES,
    }
}

impl Heap for String {
    fn heap_bytes(&self) -> usize {
        piece(self.capacity())
    }
}

impl<T: Heap> Heap for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, Heap::heap_bytes)
    }
}

impl<T: Heap> Heap for Vec<T> {
    fn heap_bytes(&self) -> usize {
        piece(self.capacity() * size_of::<T>()) + self.iter().map(Heap::heap_bytes).sum::<usize>()
    }
}

impl<T: Heap, E: Heap> Heap for Result<T, E> {
    fn heap_bytes(&self) -> usize {
        match self {
            Ok(value) => value.heap_bytes(),
            Err(error) => error.heap_bytes(),
        }
    }
}

impl Heap for Value {
    fn heap_bytes(&self) -> usize {
        match self {
            Value::Null
            | Value::Int64(_)
            | Value::Float64(_)
            | Value::Boolean(_)
            | Value::CommitTs => 0,
            Value::String(text) => text.heap_bytes(),
            Value::Bytes(bytes) => piece(bytes.capacity()),
            Value::Array(elements) => elements.heap_bytes(),
            Value::Object(object) => object.heap_bytes(),
        }
    }
}

impl Heap for Object {
    fn heap_bytes(&self) -> usize {
        let names = self.iter().map(|(name, _)| piece(name.len()));
        let values = self.iter().map(|(_, value)| value.heap_bytes());
        piece(self.capacity() * size_of::<(String, Value)>())
            + names.sum::<usize>()
            + values.sum::<usize>()
    }
}

impl Heap for Json {
    fn heap_bytes(&self) -> usize {
        match self {
            Json::Null | Json::Bool(_) | Json::Number(_) => 0,
            Json::String(text) => text.heap_bytes(),
            Json::Array(elements) => elements.heap_bytes(),
            // Nodes of a B-tree are at least half full.
            Json::Object(fields) => {
                let field = |(name, value): (&String, &Json)| {
                    2 * size_of::<(String, Json)>() + name.heap_bytes() + value.heap_bytes()
                };
                fields.iter().map(field).sum()
            }
        }
    }
}

impl Heap for Frame {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

impl Heap for Failure {
    fn heap_bytes(&self) -> usize {
        self.message.heap_bytes() + self.frames.heap_bytes() + self.data.heap_bytes()
    }
}

impl Heap for LogLine {
    fn heap_bytes(&self) -> usize {
        self.messages.heap_bytes() + self.system_code.heap_bytes()
    }
}

impl Heap for FunctionPath {
    fn heap_bytes(&self) -> usize {
        self.module.heap_bytes() + self.export.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn small_things_cost_more_than_their_content() {
        let empty = Value::Array(vec![Value::Array(Vec::new()); 1000]);
        assert!(empty.heap_bytes() >= 1000 * size_of::<Value>());
        let names = Object::from_fields((0..100).map(|n| (format!("f{n}"), n as f64))).unwrap();
        assert!(names.heap_bytes() > 100 * (size_of::<(String, Value)>() + PIECE_BYTES));
        let json = json!([{"a": "x".repeat(1000)}, [null]]);
        assert!(
            (1000..2000).contains(&json.heap_bytes()),
            "{}",
            json.heap_bytes()
        );
        assert_eq!(Value::from(3.0).heap_bytes(), 0);
        assert_eq!(String::new().heap_bytes(), 0);
    }

    #[test]
    fn what_was_reserved_counts() {
        let mut text = String::with_capacity(1000);
        text.push('x');
        assert_eq!(text.heap_bytes(), 1000 + PIECE_BYTES);
        let failure = Failure {
            message: "m".repeat(100),
            frames: vec![Frame("f".repeat(50))],
            data: Some(json!("d".repeat(200))),
            ..Failure::default()
        };
        assert!(failure.heap_bytes() > 350);
    }
}
