//! Freeing what takes long, in a thread of its own.

use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::queue::Trash;

/// Up to so many pieces are freed at once.
const AT_ONCE: usize = 64;

static FREER: OnceLock<Option<Sender<Trash>>> = OnceLock::new();

/// Frees it, at once if it is little.
pub(super) fn free(trash: Trash) {
    if trash.pieces() <= AT_ONCE {
        return;
    }
    let freer = FREER.get_or_init(|| {
        let (sender, receiver) = channel::<Trash>();
        let thread = thread::Builder::new().name("phean-free".to_string());
        thread.spawn(move || receiver.into_iter().for_each(drop)).ok().map(|_| sender)
    });
    if let Some(freer) = freer {
        // If the thread is gone, the trash comes back in the error, and is freed here.
        drop(freer.send(trash));
    }
}
