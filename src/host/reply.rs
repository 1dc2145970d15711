//! Replies to a Redis client.

use std::ffi::{CString, c_int};

use crate::commands::{Lease, Reply, Text};

use super::api::{Ctx, flag};

/// Writes to the client of a context.
pub(super) struct RedisReply {
    ctx: Ctx,
    /// The context's flags, once they were asked for.
    flags: Option<c_int>,
    /// The last lease that was written.
    lease: Option<Lease>,
    /// The last time to run that was written, in milliseconds, as a text.
    seconds: Option<(u64, Text)>,
}

impl RedisReply {
    pub(super) fn new(ctx: Ctx) -> RedisReply {
        RedisReply { ctx, flags: None, lease: None, seconds: None }
    }

    /// To a client of which it is known what flags its contexts have.
    pub(super) fn with_flags(ctx: Ctx, flags: c_int) -> RedisReply {
        RedisReply { ctx, flags: Some(flags), lease: None, seconds: None }
    }
}

impl Reply for RedisReply {
    fn integer(&mut self, value: u64) {
        self.ctx.reply_integer(value);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.ctx.reply_bytes(value);
    }

    fn lease(&mut self, id: u64, n: u64) {
        let lease = match &mut self.lease {
            Some(lease) => {
                lease.set(id, n);
                lease
            }
            None => self.lease.insert(Lease::new(id, n)),
        };
        self.ctx.reply_bytes(lease.as_bytes());
    }

    fn ok(&mut self) {
        self.ctx.reply_status(c"OK");
    }

    fn null(&mut self) {
        self.ctx.reply_null_array();
    }

    fn array(&mut self, len: usize) {
        self.ctx.reply_array(len);
    }

    fn map(&mut self, pairs: usize) {
        self.ctx.reply_map(pairs);
    }

    fn seconds(&mut self, ms: u64) {
        if *self.flags.get_or_insert_with(|| self.ctx.flags()) & flag::RESP3 != 0 {
            self.ctx.reply_double(ms as f64 / 1000.0);
        } else {
            // Of several jobs, most have the same.
            let text = match &mut self.seconds {
                Some((last, text)) if *last == ms => text,
                last => &last.insert((ms, Text::seconds(ms))).1,
            };
            self.ctx.reply_bytes(text.as_bytes());
        }
    }

    fn error(&mut self, text: &str) {
        // What is quoted in errors was made printable, so there is no NUL.
        let text = CString::new(text.replace('\0', "")).unwrap_or_default();
        self.ctx.reply_error(&text);
    }
}
