//! Small charts as SVG, which can be read on a light and on a dark page.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
const COLOURS: usize = 6;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}\
.grid{stroke:#ddd}path{fill:none;stroke-width:2}\
.s0{stroke:#0b62c4;fill:#0b62c4}.s1{stroke:#c2410c;fill:#c2410c}.s2{stroke:#15803d;fill:#15803d}\
.s3{stroke:#7e22ce;fill:#7e22ce}.s4{stroke:#a16207;fill:#a16207}.s5{stroke:#0e7490;fill:#0e7490}\
text.s0,text.s1,text.s2,text.s3,text.s4,text.s5{stroke:none}path{fill:none!important}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}\
.s0{stroke:#6cb2ff;fill:#6cb2ff}.s1{stroke:#ff9860;fill:#ff9860}.s2{stroke:#5fd38a;fill:#5fd38a}\
.s3{stroke:#c99bff;fill:#c99bff}.s4{stroke:#e3bd55;fill:#e3bd55}.s5{stroke:#5fd0e6;fill:#5fd0e6}}";

/// An axis: its name, its ends, and where it is marked.
pub struct Axis {
    name: String,
    from: f64,
    to: f64,
    marks: Vec<(f64, String)>,
    logarithmic: bool,
}

impl Axis {
    /// An axis on which equal steps are equal factors.
    pub fn logarithmic(name: &str, marks: &[(f64, &str)]) -> Axis {
        Axis { logarithmic: true, ..Axis::linear(name, marks) }
    }

    /// An axis on which equal steps are equal differences.
    pub fn linear(name: &str, marks: &[(f64, &str)]) -> Axis {
        let (from, to) = (marks[0].0, marks[marks.len() - 1].0);
        let marks = marks.iter().map(|(at, text)| (*at, text.to_string())).collect();
        Axis { name: name.to_string(), from, to, marks, logarithmic: false }
    }

    /// From zero to above the greatest value.
    pub fn up_to(name: &str, greatest: f64) -> Axis {
        let power = 10_f64.powf((greatest / 4.0).log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| step * 5.0 >= greatest).unwrap_or(greatest);
        let marks: Vec<(f64, String)> = (0..=(greatest / step).ceil() as usize)
            .map(|n| (n as f64 * step, crate::table::short(n as f64 * step)))
            .collect();
        let to = marks[marks.len() - 1].0;
        Axis { name: name.to_string(), from: 0.0, to, marks, logarithmic: false }
    }

    fn part(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        part.clamp(0.0, 1.0)
    }
}

/// A chart of some curves.
pub struct Chart {
    title: String,
    x: Axis,
    y: Axis,
    curves: Vec<(String, Vec<(f64, f64)>)>,
}

impl Chart {
    /// A chart without curves yet.
    pub fn new(title: &str, x: Axis, y: Axis) -> Chart {
        Chart { title: title.to_string(), x, y, curves: Vec::new() }
    }

    /// Adds a curve.
    pub fn curve(mut self, name: &str, points: &[(f64, f64)]) -> Chart {
        self.curves.push((name.to_string(), points.to_vec()));
        self
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let across = LEFT + self.x.part(x) * (WIDTH - LEFT - RIGHT);
        (across, HEIGHT - BOTTOM - self.y.part(y) * (HEIGHT - TOP - BOTTOM))
    }

    /// The chart as SVG.
    pub fn svg(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"22\">{title}</text>\n",
            title = self.title
        );
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, text) in &self.x.marks {
            let (x, _) = self.place(*value, self.y.from);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
            );
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                bottom + 16.0
            );
        }
        for (value, text) in &self.y.marks {
            let (_, y) = self.place(self.x.from, *value);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            );
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let (middle, below) = ((LEFT + right) / 2.0, HEIGHT - 10.0);
        let _ =
            writeln!(out, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", self.x.name);
        let _ = writeln!(
            out,
            "<text x=\"14\" y=\"{0}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {0})\">{1}</text>",
            (TOP + bottom) / 2.0,
            self.y.name
        );
        self.draw_curves(&mut out);
        out.push_str("</svg>\n");
        out
    }

    fn draw_curves(&self, out: &mut String) {
        let mut labels: Vec<(f64, usize)> = Vec::new();
        for (n, (_, points)) in self.curves.iter().enumerate() {
            let places: Vec<(f64, f64)> = points.iter().map(|(x, y)| self.place(*x, *y)).collect();
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            let _ = writeln!(out, "<path class=\"s{}\" d=\"M{}\"/>", n % COLOURS, path.join("L"));
            labels.push((places.last().map_or(0.0, |place| place.1), n));
        }
        // Each name stands where its curve ends, but none on another.
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = TOP;
        let spare = |after: usize| HEIGHT - BOTTOM - (after as f64) * 16.0;
        let count = labels.len();
        for (rank, (y, n)) in labels.into_iter().enumerate() {
            let y = y.max(free).min(spare(count - 1 - rank));
            free = y + 16.0;
            let (x, y, name) = (WIDTH - RIGHT + 8.0, y + 4.0, &self.curves[n].0);
            let _ = writeln!(out, "<text class=\"s{}\" x=\"{x}\" y=\"{y:.1}\">{name}</text>", n % COLOURS);
        }
    }

    /// Writes the chart into the folder of documents.
    pub fn write(&self, name: &str) {
        let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(&path, self.svg()).expect("docs/ can be written");
        println!("drawn: docs/{name}");
    }
}
