//! Commands on tubes: using, watching, listing and pausing them.

use std::rc::Rc;

use crate::broker::{Name, World};
use crate::queue::Change;

use super::answer::{Answer, BAD_FORMAT, NOT_FOUND, NOT_IGNORED, OUT_OF_MEMORY, PAUSED};
use super::gates::{Gates, Refusal, Trouble};
use super::parse;
use super::run::{Intent, Run};

impl<W: World, G: Gates> Run<'_, W, G> {
    /// `use <tube>`
    pub(super) fn use_tube(&mut self, name: &[u8]) -> Result<(), Answer> {
        if *self.session.used != *name {
            self.is_local(name)?;
            let used = self.broker.use_tube(self.world, name, self.now_ms);
            let used = used.map_err(|_| self.trouble(name, Trouble::WrongType))?;
            let before = std::mem::replace(&mut self.session.used, used);
            self.broker.unuse_tube(&before);
        }
        self.say_using();
        Ok(())
    }

    /// `list-tube-used`
    pub(super) fn say_using(&mut self) {
        let output = &mut self.session.output;
        output.push(b"USING ");
        output.push(&self.session.used);
        output.push(b"\r\n");
    }

    fn is_local(&mut self, name: &[u8]) -> Result<(), Answer> {
        if self.gates.is_local(name) { Ok(()) } else { Err(self.trouble(name, Trouble::NotLocal)) }
    }

    /// `watch <tube>`
    pub(super) fn watch(&mut self, name: &[u8]) -> Result<(), Answer> {
        if !self.broker.is_watched(&self.session.watched, name) {
            if !self.gates.may_use("PHEAN.RESERVE", name) {
                return Err(self.trouble(name, Trouble::NotAllowed));
            }
            // Whoever comes to empty the queue is let in, but the memory for very many names must be there.
            if self.session.watched.is_full() && self.gates.may_write(true) == Err(Refusal::OutOfMemory) {
                return Err(OUT_OF_MEMORY);
            }
            self.is_local(name)?;
            let watched = Rc::make_mut(&mut self.session.watched);
            let done = self.broker.watch(self.world, watched, name, self.now_ms);
            done.map_err(|_| self.trouble(name, Trouble::WrongType))?;
        }
        self.say_watching();
        Ok(())
    }

    /// `ignore <tube>`
    pub(super) fn ignore(&mut self, name: &[u8]) -> Result<(), Answer> {
        if self.session.watched.len() > 1 {
            self.broker.ignore(Rc::make_mut(&mut self.session.watched), name);
        } else if self.broker.is_watched(&self.session.watched, name) {
            return Err(NOT_IGNORED);
        }
        self.say_watching();
        Ok(())
    }

    fn say_watching(&mut self) {
        let count = self.session.watched.len() as u64;
        self.session.output.push_line(b"WATCHING ", count);
    }

    /// `list-tubes`
    pub(super) fn list_tubes(&mut self) -> Result<(), Answer> {
        self.may_run("PHEAN.TUBES")?;
        // Others that there may be in the database cannot be named here, and could pass for several.
        let text = list(self.broker.port_tubes().iter().filter(|name| parse::is_name(name)));
        self.session.output.push_text(&text);
        Ok(())
    }

    /// `list-tubes-watched`
    pub(super) fn list_tubes_watched(&mut self) {
        let text = list(self.session.watched.names().iter());
        self.session.output.push_text(&text);
    }

    /// Whether the port's user may run a command that names no key.
    pub(super) fn may_run(&mut self, command: &'static str) -> Result<(), Answer> {
        if self.gates.may_run(command) { Ok(()) } else { Err(self.trouble(b"", Trouble::NotAllowed)) }
    }

    /// `pause-tube <tube> <seconds>`
    pub(super) fn pause_tube(&mut self, name: &[u8], seconds: u32) -> Result<(), Answer> {
        if !parse::is_name(name) {
            return Err(BAD_FORMAT);
        }
        if !self.broker.is_port_tube(name) {
            return Err(NOT_FOUND);
        }
        self.enter("PHEAN.PAUSE", name, Intent::Write)?;
        let for_ms = u64::from(seconds) * 1000;
        self.on_tube(name, |step| {
            // A tube that is only used or watched has no key, but counts its pauses.
            step.create();
            step.make(&Change::Pause { for_ms });
        })?;
        self.broker.port_paused(name, for_ms, self.now_ms);
        self.say(PAUSED);
        Ok(())
    }
}

fn list<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<u8> {
    let mut text = b"---\n".to_vec();
    for name in names {
        text.extend_from_slice(b"- ");
        text.extend_from_slice(name);
        text.push(b'\n');
    }
    text
}
