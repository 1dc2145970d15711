//! Sending commands, and taking their replies apart.

use redis::{Connection, ConnectionLike, RedisResult, Value};
use std::collections::BTreeMap;

/// Sends a command whose arguments are any bytes. An error reply is `Err`; errors inside a reply (of `EXEC`)
/// stay where they are.
pub fn cmd<A: AsRef<[u8]>>(con: &mut Connection, args: &[A]) -> RedisResult<Value> {
    let mut command = redis::Cmd::new();
    for arg in args {
        command.arg(arg.as_ref());
    }
    match con.req_packed_command(&command.get_packed_command())? {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

/// Sends a command written as one line, split at white space; panics on an error reply.
#[track_caller]
pub fn run(con: &mut Connection, line: &str) -> Value {
    let args: Vec<&str> = line.split_whitespace().collect();
    match cmd(con, &args) {
        Ok(value) => value,
        Err(error) => panic!("{line}: {error}"),
    }
}

/// Sends a command that must answer an integer.
#[track_caller]
pub fn ok_int<A: AsRef<[u8]>>(con: &mut Connection, args: &[A]) -> i64 {
    match cmd(con, args) {
        Ok(value) => int(&value),
        Err(error) => panic!("{}: {error}", shown(args)),
    }
}

/// Sends a command that must fail, and returns the whole error line: `ERR invalid job id 'x'`.
#[track_caller]
pub fn err<A: AsRef<[u8]>>(con: &mut Connection, args: &[A]) -> String {
    match cmd(con, args) {
        Ok(value) => panic!("{} must fail, but answered {value:?}", shown(args)),
        Err(error) => error_line(&error),
    }
}

/// The error line as the server sent it, without the leading `-`.
#[track_caller]
pub fn error_line(error: &redis::RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => panic!("no error reply, but: {error}"),
    }
}

fn shown<A: AsRef<[u8]>>(args: &[A]) -> String {
    args.iter().map(|arg| arg.as_ref().escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

/// An integer reply.
#[track_caller]
pub fn int(value: &Value) -> i64 {
    match value {
        Value::Int(int) => *int,
        other => panic!("an integer was expected, not {other:?}"),
    }
}

/// A bulk string's bytes.
#[track_caller]
pub fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes.clone(),
        other => panic!("a bulk string was expected, not {other:?}"),
    }
}

/// A bulk or simple string that is text.
#[track_caller]
pub fn text(value: &Value) -> String {
    match value {
        Value::Okay => "OK".to_owned(),
        Value::SimpleString(text) => text.clone(),
        other => String::from_utf8(bytes(other)).expect("the reply is text"),
    }
}

/// A duration in seconds: a double in RESP3, a bulk string in RESP2.
#[track_caller]
pub fn seconds(value: &Value) -> f64 {
    match value {
        Value::Double(seconds) => *seconds,
        other => text(other).parse().expect("the reply is a decimal number"),
    }
}

/// An array's elements.
#[track_caller]
pub fn array(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values.clone(),
        other => panic!("an array was expected, not {other:?}"),
    }
}

/// A map reply by name: a map in RESP3, names and values in turn in RESP2. No name comes twice.
#[track_caller]
pub fn map(value: &Value) -> BTreeMap<String, Value> {
    let pairs: Vec<(Value, Value)> = match value {
        Value::Map(pairs) => pairs.clone(),
        Value::Array(flat) => {
            assert!(flat.len() % 2 == 0, "a flat map has names and values in turn: {value:?}");
            flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
        }
        other => panic!("a map was expected, not {other:?}"),
    };
    let count = pairs.len();
    let map: BTreeMap<String, Value> = pairs.into_iter().map(|(name, value)| (text(&name), value)).collect();
    assert_eq!(map.len(), count, "a name came twice: {value:?}");
    map
}

/// A job as a reserve hands it out: `[tube, lease, body, attempt, ttr]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reserved {
    /// The tube's name.
    pub tube: Vec<u8>,
    /// The job's id, as the lease says.
    pub id: i64,
    /// The lease, `ID-N`.
    pub lease: String,
    /// The job's body.
    pub body: Vec<u8>,
    /// How often it has been handed out.
    pub attempt: i64,
    /// The seconds that this reservation lasts.
    pub ttr: f64,
}

/// The job in a reserve's reply without COUNT; `None` for null.
#[track_caller]
pub fn reserved(value: &Value) -> Option<Reserved> {
    if *value == Value::Nil {
        return None;
    }
    let fields = array(value);
    // Later versions may append elements.
    let [tube, lease, body, attempt, ttr, ..] = fields.as_slice() else {
        panic!("a reservation has five elements: {value:?}");
    };
    let lease = text(lease);
    let id = lease.split_once('-').and_then(|(id, _)| id.parse().ok());
    let id = id.unwrap_or_else(|| panic!("a lease is ID-N, not {lease}"));
    Some(Reserved {
        tube: bytes(tube),
        id,
        lease,
        body: bytes(body),
        attempt: int(attempt),
        ttr: seconds(ttr),
    })
}

/// The jobs in a reserve's reply with COUNT; none for null.
#[track_caller]
pub fn reserved_many(value: &Value) -> Vec<Reserved> {
    if *value == Value::Nil {
        return Vec::new();
    }
    array(value).iter().map(|job| reserved(job).expect("no null among several jobs")).collect()
}
