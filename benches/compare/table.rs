//! The table: what was measured, beside what was hoped for.

use crate::load::Spent;
use crate::stalls::Stall;

/// What a ratio, or a value, should be.
#[derive(Clone, Copy)]
pub enum Goal {
    /// this or more
    AtLeast(f64),
    /// this or less
    AtMost(f64),
    /// for information
    None,
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Goal::AtLeast(least) => value >= least,
            Goal::AtMost(most) => value <= most,
            Goal::None => true,
        }
    }

    fn text(self) -> String {
        match self {
            Goal::AtLeast(least) => format!("≥ {}", short(least)),
            Goal::AtMost(most) => format!("≤ {}", short(most)),
            Goal::None => String::new(),
        }
    }
}

const HEAD: [&str; 7] = ["", "phean", "other", "by CPU", "by clock", "goal", ""];

/// By CPU and by the clock.
pub type Cost = (f64, f64);

/// All rows, in the order in which they were measured.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 7]>,
    section: String,
    sections: Vec<(usize, String)>,
}

impl Table {
    /// Begins a part of the table.
    pub fn section(&mut self, name: &str) {
        self.section = name.to_string();
        self.sections.push((self.rows.len(), name.to_string()));
    }

    /// Rates of phean and of another side, measured in turn. The ratio by CPU is judged: the clock's also has what
    /// the client and the other programs of the machine take.
    pub fn rates(&mut self, what: &str, rounds: &[(Spent, Spent)], goal: Goal) {
        let cell = |side: fn(&(Spent, Spent)) -> Spent| {
            let rate = median(rounds.iter().map(|round| side(round).rate()));
            let cpu = median(rounds.iter().map(|round| side(round).cpu_ns()));
            format!("{} k/s, {} ns", short(rate / 1e3), cpu.round())
        };
        let cpu = median(rounds.iter().map(|(phean, other)| other.cpu_ns() / phean.cpu_ns()));
        let clock = median(rounds.iter().map(|(phean, other)| phean.rate() / other.rate()));
        let met = goal.met(two(cpu));
        let cells = [cell(|round| round.0), cell(|round| round.1)];
        self.push(what, cells, [format!("{cpu:.2}"), format!("{clock:.2}")], goal, met);
    }

    /// A ratio of two costs: by CPU and by the clock, judged by CPU.
    pub fn costs(&mut self, what: &str, unit: &str, [phean, other]: [Cost; 2], goal: Goal) {
        self.costs_in_turn(what, unit, &[(phean, other)], goal);
    }

    /// The same of costs that were measured in turn.
    pub fn costs_in_turn(&mut self, what: &str, unit: &str, rounds: &[(Cost, Cost)], goal: Goal) {
        let middle = |of: fn(&(Cost, Cost)) -> f64| median(rounds.iter().map(of));
        let cell = |cpu: f64, clock: f64| format!("{} CPU, {} {unit}", short(cpu), short(clock));
        let cells = [
            cell(middle(|round| round.0.0), middle(|round| round.0.1)),
            cell(middle(|round| round.1.0), middle(|round| round.1.1)),
        ];
        let (cpu, clock) = (middle(|round| round.0.0 / round.1.0), middle(|round| round.0.1 / round.1.1));
        self.push(what, cells, [cpu, clock].map(|ratio| format!("{ratio:.2}")), goal, goal.met(two(cpu)));
    }

    /// How long others wait at the worst, judged by the processor's time, where that can be told.
    pub fn stall(&mut self, what: &str, phean: Option<Stall>, other: Option<Stall>, goal: Goal) {
        let cell = |stall: Option<Stall>| match stall {
            Some(stall) if stall.cpu_ms.is_nan() => with_unit(stall.clock_ms, "ms"),
            Some(stall) => format!("{} CPU, {} ms", short(stall.cpu_ms), short(stall.clock_ms)),
            None => String::new(),
        };
        let judged =
            phean.map_or(0.0, |stall| if stall.cpu_ms.is_nan() { stall.clock_ms } else { stall.cpu_ms });
        self.push(what, [cell(phean), cell(other)], Default::default(), goal, goal.met(judged));
    }

    /// Two values by the clock, and a goal for their ratio.
    pub fn ratio(&mut self, what: &str, unit: &str, phean: f64, other: f64, goal: Goal) {
        let ratio = phean / other;
        let cells = [with_unit(phean, unit), with_unit(other, unit)];
        self.push(what, cells, [String::new(), format!("{ratio:.2}")], goal, goal.met(two(ratio)));
    }

    /// A value with a goal of its own; the other side's is shown to compare.
    pub fn value(&mut self, what: &str, unit: &str, phean: f64, other: Option<f64>, goal: Goal) {
        let other = other.map_or(String::new(), |other| with_unit(other, unit));
        self.push(what, [with_unit(phean, unit), other], Default::default(), goal, goal.met(phean));
    }

    /// Why something was not measured.
    pub fn missing(&mut self, what: &str, why: &str) {
        self.push(what, [why.to_string(), String::new()], Default::default(), Goal::None, true);
    }

    fn push(&mut self, what: &str, cells: [String; 2], ratios: [String; 2], goal: Goal, met: bool) {
        let mark = if met { "" } else { "missed" };
        eprintln!(
            "  {}: {what}: {} | {} | {} | {} {mark}",
            self.section, cells[0], cells[1], ratios[0], ratios[1]
        );
        let ([phean, other], [cpu, clock]) = (cells, ratios);
        self.rows.push([what.to_string(), phean, other, cpu, clock, goal.text(), mark.to_string()]);
    }

    /// Prints it, as Markdown that can be read as it is.
    pub fn print(&self) {
        let mut widths = HEAD.map(|text| text.chars().count());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for (n, (from, name)) in self.sections.iter().enumerate() {
            let to = self.sections.get(n + 1).map_or(self.rows.len(), |next| next.0);
            println!("\n### {name}\n");
            line(&HEAD.map(str::to_string), &widths);
            line(&widths.map(|width| "-".repeat(width)), &widths);
            self.rows[*from..to].iter().for_each(|row| line(row, &widths));
        }
        let missed = self.rows.iter().filter(|row| row[6] == "missed").count();
        let goals = self.rows.iter().filter(|row| !row[5].is_empty()).count();
        println!("\n{} of {goals} goals met", goals - missed);
    }
}

fn line(cells: &[String; 7], widths: &[usize; 7]) {
    let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    println!("| {} |", cells.join(" | "));
}

fn with_unit(value: f64, unit: &str) -> String {
    format!("{} {unit}", short(value))
}

fn two(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

/// A number with three digits or so.
pub fn short(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 100.0 || size == 0.0 => return format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// The middle of these.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(&mut values.into_iter().collect::<Vec<_>>(), 0.5)
}

/// The value that this part of them does not exceed.
pub fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (part * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

/// Runs both sides in turn, one round more than is counted.
pub fn in_turn<T>(rounds: usize, mut round: impl FnMut() -> T) -> Vec<T> {
    round();
    (0..rounds).map(|_| round()).collect()
}
