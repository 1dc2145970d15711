//! Replies to a Redis client.

use std::cell::RefCell;
use std::ffi::{CString, c_int};

use crate::commands::{Lease, Reply, Text};

use super::api::{Ctx, flag};

/// Writes to the client of a context.
pub(super) struct RedisReply {
    ctx: Ctx,
    /// The context's flags, once they were asked for.
    flags: Option<c_int>,
}

/// What was written last: the next lease and time to run mostly have much in common with them, or all.
struct Written {
    lease: Lease,
    /// A time in milliseconds, and as a text.
    seconds: (u64, Text),
}

thread_local! {
    static WRITTEN: RefCell<Written> =
        RefCell::new(Written { lease: Lease::new(0, 0), seconds: (0, Text::seconds(0)) });
}

impl RedisReply {
    pub(super) fn new(ctx: Ctx) -> RedisReply {
        RedisReply { ctx, flags: None }
    }

    /// To a client of which it is known what flags its contexts have.
    pub(super) fn with_flags(ctx: Ctx, flags: c_int) -> RedisReply {
        RedisReply { ctx, flags: Some(flags) }
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
        WRITTEN.with_borrow_mut(|written| {
            written.lease.set(id, n);
            self.ctx.reply_bytes(written.lease.as_bytes());
        });
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
            WRITTEN.with_borrow_mut(|Written { seconds, .. }| {
                if seconds.0 != ms {
                    *seconds = (ms, Text::seconds(ms));
                }
                self.ctx.reply_bytes(seconds.1.as_bytes());
            });
        }
    }

    fn error(&mut self, text: &str) {
        // What is quoted in errors was made printable, so there is no NUL.
        let text = CString::new(text.replace('\0', "")).unwrap_or_default();
        self.ctx.reply_error(&text);
    }
}
