//! Replies, recorded as values.

use std::fmt;

use phean::commands::Reply;

#[derive(Clone, PartialEq)]
pub enum Value {
    Integer(u64),
    Bytes(Vec<u8>),
    Ok,
    Null,
    Array(Vec<Value>),
    /// Keys and values in turn.
    Map(Vec<Value>),
    /// A duration in seconds, here in milliseconds.
    Seconds(u64),
}

impl Value {
    pub fn integer(&self) -> u64 {
        match self {
            Value::Integer(value) => *value,
            other => panic!("{other:?} where an integer was expected"),
        }
    }

    pub fn milliseconds(&self) -> u64 {
        match self {
            Value::Seconds(ms) => *ms,
            other => panic!("{other:?} where seconds were expected"),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            other => panic!("{other:?} where bytes were expected"),
        }
    }

    pub fn array(&self) -> &[Value] {
        match self {
            Value::Array(values) => values,
            other => panic!("{other:?} where an array was expected"),
        }
    }

    /// The value of a key of a map.
    pub fn field(&self, name: &str) -> &Value {
        let Value::Map(values) = self else { panic!("{self:?} where a map was expected") };
        let mut pairs = values.chunks(2);
        let pair = pairs.find(|pair| pair[0].bytes() == name.as_bytes());
        &pair.unwrap_or_else(|| panic!("no {name} in {self:?}"))[1]
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(value) => write!(f, "{value}"),
            Value::Bytes(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Ok => write!(f, "OK"),
            Value::Null => write!(f, "null"),
            Value::Array(values) => f.debug_list().entries(values).finish(),
            Value::Map(values) => {
                f.debug_map().entries(values.chunks(2).map(|pair| (&pair[0], &pair[1]))).finish()
            }
            Value::Seconds(ms) => write!(f, "{}s", *ms as f64 / 1000.0),
        }
    }
}

/// What was written, piece by piece.
#[derive(Default)]
pub struct Recorder {
    pieces: Vec<(Value, usize)>,
}

impl Recorder {
    /// The whole reply. There must be exactly one.
    pub fn value(self) -> Value {
        let mut pieces = self.pieces.into_iter();
        let value = build(&mut pieces);
        assert!(pieces.next().is_none(), "more than one reply");
        value
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn push(&mut self, value: Value, parts: usize) {
        self.pieces.push((value, parts));
    }
}

fn build(pieces: &mut impl Iterator<Item = (Value, usize)>) -> Value {
    let (value, parts) = pieces.next().expect("a reply is cut off");
    let mut values = || (0..parts).map(|_| build(pieces)).collect();
    match value {
        Value::Array(_) => Value::Array(values()),
        Value::Map(_) => Value::Map(values()),
        other => other,
    }
}

impl Reply for Recorder {
    fn integer(&mut self, value: u64) {
        self.push(Value::Integer(value), 0);
    }
    fn bytes(&mut self, value: &[u8]) {
        self.push(Value::Bytes(value.to_vec()), 0);
    }
    fn ok(&mut self) {
        self.push(Value::Ok, 0);
    }
    fn null(&mut self) {
        self.push(Value::Null, 0);
    }
    fn array(&mut self, len: usize) {
        self.push(Value::Array(Vec::new()), len);
    }
    fn map(&mut self, pairs: usize) {
        self.push(Value::Map(Vec::new()), 2 * pairs);
    }
    fn lease(&mut self, id: u64, n: u64) {
        self.bytes(format!("{id}-{n}").as_bytes());
    }

    fn seconds(&mut self, ms: u64) {
        self.push(Value::Seconds(ms), 0);
    }
    fn error(&mut self, text: &str) {
        panic!("a command wrote the error {text} instead of returning it");
    }
}
